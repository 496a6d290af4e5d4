"""The simulated engine beside vLLM on an H200 and an H100, under the same requests at the same moments.

    python benchmarks/simulate_and_vllm.py

The shipped load runs replayed Azure's conversation trace against vLLM 0.26.0 (8B shape, bf16, 8192 tokens a step, 256
sequences, prefix cache off) at shares of its saturation. Each is simulated with the shipped constants: the same due times
and lengths. Prints p50 and p99 of TTFT and TPOT, and goodput under two promises, of both, with the simulation's interval. Closed loops of two shapes that no fit saw follow.
"""

import sys
from pathlib import Path

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.estimate.device_calibration import machine_of
from workbench.store.runs import read_run_file

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # shared with the test of the same figures
from support.beside_vllm import beside_measured, beside_vllm, measured_names

LOADS = {
    # Device: shares of saturation in the names of the runs, and room of the cache in tokens, as vLLM printed.
    "h200": (("33-percent", "62-percent", "80-percent", "overload"), 896_912),
    "h100": (("50-percent", "80-percent", "95-percent", "overload"), 462_944),
}
CLOSED = (
    # Shape, precision, users, and room of the cache in tokens, as vLLM printed; the fit of the constants saw neither shape.
    *(("mistral-small-24b-shape", "bf16", users, 523_824) for users in (8, 32, 96)),
    *(("qwen2.5-32b-shape", "fp8", users, 373_520) for users in (32, 96)),
)
PROMISES = ((0.5, 0.03), (0.15, 0.015))


def _coverage() -> None:
    """Print how many of the measured loads lie in their nominal 80 % intervals."""
    every = [
        (name, row) for name in measured_names() for row in beside_measured(name) if row.name[:4] in {"ttft", "tpot"}
    ]
    for latency in dict.fromkeys(row.name for _, row in every):
        rows = [row for _, row in every if row.name == latency]
        print(f"{latency}: {sum(r.low <= r.measured <= r.high for r in rows)} of {len(rows)} in nominal 80 % intervals")


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
    _coverage()
    machine, _ = machine_of("h200-sxm")
    for shape, precision, users, cache in CLOSED:
        run = read_run_file(MEASURED / f"load_{shape}_{precision}_closed-{users}_h200.json")
        unseen = model_spec_from(f"data/models/{shape}")
        rows = beside_vllm(run, unseen, machine, cache_tokens=cache, ttft_s=2.0, tpot_s=0.05, precision=precision)
        shown = "; ".join(
            f"{r.name} {r.measured:.4g} / {r.simulated:.4g} ({100 * r.error_fraction:+.0f} %)" for r in rows
        )
        print(f"{shape} {precision}, {users} users; measured / simulated: {shown}")


if __name__ == "__main__":
    main()
