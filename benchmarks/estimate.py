"""How right predictions are on what they never saw, beside a plain roofline.

    python benchmarks/estimate.py

What surrounds the products is fitted to the BF16 steps of the shipped H200 run (with both caches); every other precision is
predicted and compared with its measurement. Intervals of a precision take their width from the errors of the other
unseen ones. Prints median and largest errors, the share of points inside the nominal 80 % interval, and the time of
10 000 plans.
"""

import time
from statistics import NormalDist

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.estimate.calibration import FITTED, cells_of
from workbench.estimate.prediction import LEVEL
from workbench.estimate.roofline import prefill_floor_s, step_floor_s
from workbench.estimate.step_time import Machine, decode_step_s, kv_bits_of, log_errors, plan_of
from workbench.experiments.ceilings import published_ceilings
from workbench.experiments.device_calibration import from_runs
from workbench.store.runs import read_run_file

NAMES = ("gemm_llama-3.1-8b-shape_h200", "gemm_stdlib-9m_h200", "serving_speed_llama-3.1-8b-shape_h200")
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def relative(logs):
    """Errors in percent of the measurement."""
    return 100 * np.abs(np.exp(np.asarray(logs)) - 1)


def roofline_logs(model, steps, served, ceilings):
    """Logarithms of roofline over measured: of steps, and of prompts."""
    c, plan, bits = cells_of(steps, served), plan_of(served, steps), kv_bits_of(served)
    cells = list(zip(c["batch"].astype(int), c["context_tokens"].astype(int), strict=True))
    floors = [step_floor_s(model, plan, batch=b, context_tokens=n, kv_bits=bits, ceilings=ceilings) for b, n in cells]
    reads = [prefill_floor_s(model, plan, batch=b, context_tokens=n, ceilings=ceilings) for b, n in cells]
    return np.log(np.array(floors) / c["tpot_p50_s"]), np.log(np.array(reads) / c["prefill_s"])


def coverage(logs_by_name, index):
    """Share of the points of each unseen precision inside the interval that the others' errors suggest."""
    inside = []
    for name, logs in logs_by_name.items():
        others = np.concatenate([v[index] for n, v in logs_by_name.items() if n != name])
        inside.extend(np.abs(logs[index]) <= Z * np.sqrt(np.mean(np.square(others))))
    return float(np.mean(inside))


def main() -> None:
    runs = [read_run_file(MEASURED / f"{name}.json") for name in NAMES]
    known, steps = from_runs(runs), runs[-1]
    ceilings, model = published_ceilings(known.device_id), model_spec_from(steps.spec["model"])
    ours, floor = {}, {}
    print(f"{'precision':14s} {'TPOT: median':>13s} {'largest':>8s} {'prefill: median':>16s} {'largest':>8s}   (%)")
    for served in steps.spec["served"]:
        logs = log_errors(known, ceilings, steps, model, served)
        step, prompt = (relative(v) for v in logs)
        name = served + (" *" if served in FITTED else "")
        line = f"{np.median(step):13.1f} {step.max():8.1f} {np.median(prompt):16.1f} {prompt.max():8.1f}"
        print(f"{name:14s} {line}")
        if served not in FITTED:
            ours[served], floor[served] = logs, roofline_logs(model, steps, served, ceilings)
    for index, what in enumerate(("TPOT", "prefill")):
        own, plain = (np.concatenate([v[index] for v in logs.values()]) for logs in (ours, floor))
        print(
            f"unseen, {what}: median {np.median(relative(own)):.1f} %, roofline {np.median(relative(plain)):.1f} %, "
            f"inside 80 % intervals {100 * coverage(ours, index):.0f} %, n = {own.size}"
        )
    started = time.perf_counter()
    batch, context = np.tile(np.arange(1.0, 101.0), 100), np.repeat(np.arange(100.0, 10100.0, 100.0), 100)
    machine = Machine(known=known, ceilings=ceilings)
    decode_step_s(model, {}, machine, batch=batch, context=context, kv_bits=16)
    print(f"10 000 plans: {time.perf_counter() - started:.4f} s   (* fitted to)")


if __name__ == "__main__":
    main()
