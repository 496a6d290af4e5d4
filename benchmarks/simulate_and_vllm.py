"""The simulated engine beside vLLM on an H200 and an H100, under the same requests at the same moments.

    python benchmarks/simulate_and_vllm.py

The shipped load runs replayed Azure's conversation trace against vLLM 0.26.0 (8B shape, bf16, 8192 tokens a step, 256
sequences, prefix cache off) at shares of its saturation. Each is simulated with the shipped constants: the same due times
and lengths. Prints p50 and p99 of TTFT and TPOT, and goodput under two promises, of both, with the simulation's interval. Closed loops and
Poisson arrivals of shapes that no fit of step times saw follow, with the median error and the share inside the 80 % intervals.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.machine import Split
from workbench.store.runs import read_run_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # shared with the test of the same figures
from support.beside_vllm import Compared, beside_vllm

LOADS = {
    # Device: shares of saturation in the names of the runs, and room of the cache in tokens, as vLLM printed.
    "h200": (("33-percent", "62-percent", "80-percent", "overload"), 896_912),
    "h100": (("50-percent", "80-percent", "95-percent", "overload"), 462_944),
}
UNSEEN = {
    # Shape, precision and devices of runs whose shapes no fit of step times saw: room of the cache in tokens, as vLLM printed.
    ("mistral-small-24b-shape", "bf16", 1): 541_776,
    ("mistral-small-24b-shape", "bf16", 2): 1_383_600,
    ("qwen2.5-32b-shape", "fp8", 1): 373_520,
    ("mixtral-8x7b-shape", "bf16", 1): 321_264,
    ("gemma-3-12b-text-shape", "bf16", 1): 284_062,
}
PROMISES = ((0.5, 0.03), (0.15, 0.015))


def main() -> None:
    model = model_spec_from("data/models/llama-3.1-8b-shape")
    for device, (shares, cache) in LOADS.items():
        machine, _ = machine_of(f"{device}-sxm")
        for share in shares:
            run = read_run_file(MEASURED / f"load_llama-3.1-8b-shape_conv-{share}_{device}.json")
            for ttft, tpot in PROMISES:
                rows = beside_vllm(run, model, machine, cache_tokens=cache, ttft_s=ttft, tpot_s=tpot)
                shown = [
                    f"{r.name} {r.measured:.4g} / {r.simulated:.4g} [{r.low:.4g}, {r.high:.4g}] "
                    f"({100 * r.error_fraction:+.0f} %)"
                    for r in rows
                ]
                print(f"{device}, {share}, promises {ttft} s and {tpot} s; measured / simulated: {'; '.join(shown)}")
    errors: dict[str, list[float]] = {}
    inside: dict[str, list[bool]] = {}
    for key, cache in UNSEEN.items():
        for place in runs_of(*key):
            rows = beside_unseen(place, *key, cache_tokens=cache)
            shown = "; ".join(
                f"{r.name} {r.measured:.4g} / {r.simulated:.4g} ({100 * r.error_fraction:+.0f} %)" for r in rows
            )
            print(f"{place.stem}; measured / simulated: {shown}")
            for r in rows:
                errors.setdefault(r.name, []).append(abs(r.error_fraction))
                inside.setdefault(r.name, []).append(r.low <= r.measured <= r.high)
    for name, found in errors.items():
        held = 100 * float(np.mean(inside[name]))
        print(
            f"{name}: median error {100 * float(np.median(found)):.1f} %, {held:.0f} % of {len(found)} in the interval"
        )


def runs_of(shape: str, precision: str, n_devices: int) -> list[Path]:
    """Return the shipped loads of a shape on H200s."""
    split = "" if n_devices == 1 else f"tp{n_devices}_"
    return sorted(
        p for kind in ("closed", "poisson") for p in MEASURED.glob(f"load_{shape}_{precision}_{split}{kind}-*h200.json")
    )


def beside_unseen(place: Path, shape: str, precision: str, n_devices: int, *, cache_tokens: int) -> list[Compared]:
    """Return each figure of a shipped load beside its simulation."""
    machine = replace(machine_of("h200-sxm")[0], split=Split(tensor=n_devices))
    model = model_spec_from(f"data/models/{shape}")
    run = read_run_file(place)
    return beside_vllm(run, model, machine, cache_tokens=cache_tokens, ttft_s=2.0, tpot_s=0.05, precision=precision)


if __name__ == "__main__":
    main()
