"""How right predictions are on what they never saw, beside a plain roofline and aiconfigurator.

    python benchmarks/estimate.py

What surrounds the products is fitted to the BF16 steps (both caches) and the BF16 and FP8 prompts of the shipped H200 run of
the 8B shape. Left out of the fit and predicted: its other precisions, and every precision of the shapes that were never
used for fitting (Qwen3-14B; Qwen3-30B-A3B, a mixture of experts). The same is done with the constants of
the short calibration alone, from another H200, and on H100 cards: the short calibration of one card and the all-reduces of two
predict other precisions, and tensor-parallel steps of the 8B and the 70B shape. Intervals take their width from the other left-out
points. aiconfigurator's predictions for the same cells come from benchmarks/peers. Prints median and largest errors, the share of points inside nominal
80 % intervals, errors against published figures, the measured closed loops beside both, and the time of 10 000 plans and of whole ones.
"""

import csv
import json
import re
import sys
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import DATA, MEASURED
from workbench.estimate.calibration import FITTED, FITTED_PROMPTS, cells_of
from workbench.estimate.ceilings import published_ceilings
from workbench.estimate.device_calibration import from_runs
from workbench.estimate.fitting import kv_bits_of, log_errors, plan_of
from workbench.estimate.machine import Machine
from workbench.estimate.prediction import Question, Z, predicted
from workbench.estimate.roofline import prefill_floor_s, step_floor_s
from workbench.estimate.step_time import decode_step_s
from workbench.questions.parallelism.findings import plan_load, search
from workbench.questions.parallelism.spec import PlanSpec
from workbench.store.runs import read_run_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # shared with the test of the same figures
from support.beside_vllm import answered, beside_measured, last_s

NAMES = (
    "gemm_llama-3.1-8b-shape_h200",
    "gemm_llama-3.1-70b-shape_h200",
    "gemm_llama-3.1-70b-tp4-shard_h200",
    "gemm_stdlib-9m_h200",
    "serving_speed_llama-3.1-8b-shape_h200",
    "links_4-h200",
)
"""What the shipped constants are fitted to."""
SHORT = ("calibration_llama-3.1-8b-shape_h200", "links_4-h200")
CHECKED = (
    "serving_speed_llama-3.1-8b-shape_h200",
    "left_out/serving_speed_qwen3-14b-shape_h200",
    "left_out/serving_speed_qwen3-30b-a3b-shape_h200",
    "left_out/serving_speed_llama-3.1-70b-shape_bf16_tp4_h200",
    "left_out/serving_speed_llama-3.1-70b-shape_fp8_tp4_h200",
)
SHORT_H100 = ("calibration_llama-3.1-8b-shape_h100", "links_2-h100")
CHECKED_H100 = (
    "left_out/serving_speed_llama-3.1-8b-shape_h100",
    "left_out/serving_speed_llama-3.1-8b-shape_tp2_h100",
    "left_out/serving_speed_llama-3.1-70b-shape_tp2_h100",
)
PEERS = Path(__file__).parent / "peers"
PEER, PEER_LOADS = PEERS / "aiconfigurator_0.12.0.json", PEERS / "aiconfigurator_loads_0.12.0.json"


def relative(logs):
    """Errors in percent of the measurement."""
    return 100 * np.abs(np.exp(np.asarray(logs)) - 1)


def runs_of(names):
    """Shipped runs by name."""
    return [read_run_file(MEASURED / f"{name}.json") for name in names]


def roofline_logs(model, steps, served, ceilings):
    """Logarithms of roofline over measured: of steps, and of prompts."""
    c, plan, bits = cells_of(steps, served), plan_of(served, steps), kv_bits_of(served)
    cells = list(zip(c.batch.astype(int), c.context_tokens.astype(int), strict=True))
    floors = [step_floor_s(model, plan, batch=b, context_tokens=n, kv_bits=bits, ceilings=ceilings) for b, n in cells]
    reads = [prefill_floor_s(model, plan, batch=b, context_tokens=n, ceilings=ceilings) for b, n in cells]
    return np.log(np.array(floors) / c.tpot_s), np.log(np.array(reads) / c.prefill_s)


def peer_logs(rows, steps, served):
    """The same of aiconfigurator, for the cells that it answered."""
    c = cells_of(steps, served)
    shape = Path(steps.spec["model"]).name
    asked = (steps.environment.device_id.replace("-", "_"), shape, served, steps.spec.get("tensor_parallel", 1))
    known = {
        (r["batch"], r["context_tokens"]): r
        for r in rows
        if (r["device"], r["model"], r["served"], r["tensor_parallel"]) == asked
    }
    found = ([], [])
    for i, (b, n) in enumerate(zip(c.batch.astype(int), c.context_tokens.astype(int), strict=True)):
        row = known.get((b, n), {})
        for logs, name in zip(found, ("tpot_s", "prefill_s"), strict=True):
            if row.get(name):
                logs.append(np.log(row[name] / getattr(c, name)[i]))
    return tuple(np.array(logs) for logs in found)


def left_out(known, ceilings, names=CHECKED):
    """Logarithms of predicted over measured by (run, precision): steps and prompts that the fit did not see."""
    found = {}
    for name in names:
        run = read_run_file(MEASURED / f"{name}.json")
        model = model_spec_from(run.spec["model"])
        is_fitted = name == CHECKED[0]
        for served in run.spec["served"]:
            if not {*plan_of(served, run).values()} <= {*known.curves}:
                continue
            step, prompt = log_errors(known, ceilings, run, model, served)
            found[name, served] = (
                np.array([]) if is_fitted and served in FITTED else step,
                np.array([]) if is_fitted and served.removesuffix("+fp8-kv") in FITTED_PROMPTS else prompt,
            )
    return found


def coverage(logs_by_name, index):
    """Share of the points of each precision inside the interval that the others' errors suggest."""
    inside = []
    for name, logs in logs_by_name.items():
        others = np.concatenate([v[index] for n, v in logs_by_name.items() if n != name])
        inside.extend(np.abs(logs[index]) <= Z * np.sqrt(np.mean(np.square(others))))
    return float(np.mean(inside))


def is_dense(key):
    return "a3b" not in key[0]


def show(title, logs):
    """Medians and largest errors of a table."""
    print(title)
    for (name, served), (step, prompt) in logs.items():
        cells = [
            f"{np.median(relative(v)):8.1f} {relative(v).max():8.1f}" if v.size else " " * 17 for v in (step, prompt)
        ]
        print(f"  {name.rsplit('serving_speed_')[-1]:24s} {served:14s} {cells[0]} {cells[1]}")


def against_published(known, ceilings):
    """Lines with published throughputs of static batches (data/published.csv) beside predictions."""
    with (DATA / "published.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            batch, n_in, n_out = (
                int(n) for n in re.findall(r"batch (\d+), (\d+) tokens in, (\d+) out", row["condition"])[0]
            )
            question = Question(input_tokens=n_in, output_tokens=n_out, concurrency=batch)
            machine = Machine(known=known, ceilings=ceilings)
            made = predicted(
                model_spec_from("data/models/llama-3.1-8b-shape"), machine, question, memory_bytes=141e9, is_own=True
            )
            rate = made.output_tokens_per_s.value
            error = 100 * (rate / float(row["value"]) - 1)
            yield f"published, {row['engine']}, {row['condition']}: {row['value']} {row['unit']}, predicted {rate:.0f} ({error:+.0f} %)"


def compare(title, tables, *, chosen):
    """Medians over all left-out cells of some runs, of each way to predict."""
    for index, what in enumerate(("TPOT", "prefill")):
        ours = {k: v for k, v in tables["ours"].items() if chosen(k) and v[index].size}
        told = []
        for label, logs in tables.items():
            have = [logs[k][index] for k in ours if k in logs and logs[k][index].size]
            if have:
                every = np.concatenate(have)
                told.append(f"{label} {np.median(relative(every)):.1f} % (n = {every.size})")
        inside = f"; inside nominal 80 %: {100 * coverage(ours, index):.0f} %" if len(ours) > 1 else ""
        print(f"{title}, {what}, median: {', '.join(told)}{inside}")


def baselines(ours, ceilings):
    """A plain roofline and aiconfigurator on the same cells; the roofline is of one device and of dense layers."""
    rows = json.loads(PEER.read_text())["rows"]
    plain, peer = {}, {}
    for name, served in ours:
        run = read_run_file(MEASURED / f"{name}.json")
        if is_dense((name, served)) and run.spec.get("tensor_parallel", 1) == 1:
            plain[name, served] = roofline_logs(model_spec_from(run.spec["model"]), run, served, ceilings)
        peer[name, served] = peer_logs(rows, run, served)
    return {"roofline": plain, "aiconfigurator": peer}


def under_load():
    """Lines of a table of the measured closed loops: our medians and aiconfigurator's means against measured medians and means."""
    yield "closed loops under load: TTFT measured, ours, aiconfigurator; TPOT the same (errors of p50 and of the mean, %)"
    rows, errors = json.loads(PEER_LOADS.read_text())["rows"], []
    for row in rows:
        asked = answered(read_run_file(MEASURED / f"load_{row['load']}.json"))
        ours = {c.name: c for c in beside_measured(row["load"])}
        mean = {
            "ttft": float(np.mean([q.first_content_s - q.due_s for q in asked])),
            "tpot": float(np.mean([(last_s(q) - q.first_content_s) / max(1, q.output_tokens - 1) for q in asked])),
        }
        shown, logs = [], []
        for name, average in mean.items():
            mine, theirs = ours[f"{name}_p50_s"], row[f"{name}_s"]
            logs += [np.log(mine.simulated / mine.measured), np.log(theirs / average) if theirs else np.nan]
            shown.append(
                f"{1e3 * mine.measured:8.1f} ms {100 * np.expm1(logs[-2]):+6.0f} {100 * np.expm1(logs[-1]):+6.0f}"
            )
        errors.append(logs)
        yield f"  {row['load']:46s} {'   '.join(shown)}"
    medians = np.nanmedian(relative(errors), axis=0)
    yield f"  median: TTFT ours {medians[0]:.1f}, aiconfigurator {medians[1]:.1f}; TPOT ours {medians[2]:.1f}, aiconfigurator {medians[3]:.1f}"


def whole_plans():
    """Lines with the processor time of plans with their simulated attainment, as the panel makes them: first ones, and of other rates."""
    asked, kept = PlanSpec(model="meta-llama/Meta-Llama-3.1-70B"), lru_cache(maxsize=None)(search)
    plan_load(asked)  # imports and catalogue
    for what, specs in (
        ("plan of other lengths", [replace(asked, input_tokens=1000 + 100 * i) for i in range(5)]),
        ("plan of another rate", [replace(asked, input_tokens=1000, requests_per_s=5.0 + i) for i in range(5)]),
    ):
        took = []
        for spec in specs:
            started = time.process_time()
            assert plan_load(spec, searched=kept).attained
            took.append(time.process_time() - started)
        yield f"{what}, with simulated attainment: {np.median(took):.3f} s of one core (largest of {len(took)}: {max(took):.3f} s)"


def main() -> None:
    known = from_runs(runs_of(NAMES))
    ceilings = published_ceilings(known.device_id)
    ours = left_out(known, ceilings)
    short = left_out(from_runs(runs_of(SHORT), reference=known), ceilings)
    other = from_runs(runs_of(SHORT_H100), reference=known)
    elsewhere = left_out(other, published_ceilings(other.device_id), CHECKED_H100)
    print("errors in %: TPOT median, largest; prefill median, largest (blank: fitted to)")
    show("H200, shipped constants", ours)
    show("H200, constants of the short calibration, from another card", short)
    show("H100, constants of the short calibration; TP 2 was never fitted to", elsewhere)
    tables = {"ours": ours, "short": short} | baselines(ours, ceilings)
    compare("left out, H200, dense", tables, chosen=is_dense)
    compare("left out, H200, experts", tables, chosen=lambda key: not is_dense(key))
    tables = {"ours": elsewhere} | baselines(elsewhere, published_ceilings(other.device_id))
    compare("left out, H100", tables, chosen=lambda key: "tp2" not in key[0])
    compare("left out, H100, TP 2", tables, chosen=lambda key: "tp2" in key[0])
    for line in (*against_published(known, ceilings), *under_load()):
        print(line)
    started = time.perf_counter()
    batch, context = np.tile(np.arange(1.0, 101.0), 100), np.repeat(np.arange(100.0, 10100.0, 100.0), 100)
    machine = Machine(known=known, ceilings=ceilings)
    decode_step_s(
        model_spec_from("data/models/llama-3.1-8b-shape"), {}, machine, batch=batch, context=context, kv_bits=16
    )
    print(f"10 000 plans: {time.perf_counter() - started:.4f} s")
    for line in whole_plans():
        print(line)


if __name__ == "__main__":
    main()
