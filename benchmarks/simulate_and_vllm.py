"""The simulated engine beside vLLM on H200s and H100s, under the same requests at the same moments.

    python benchmarks/simulate_and_vllm.py

The shipped load runs sent Azure's conversation trace to an 8B shape at shares of its saturation, and closed loops and Poisson arrivals to
shapes that no fit of step times saw (vLLM 0.26.0, 8192 tokens a step, 256 sequences, prefix cache off). Each is simulated with the shipped
constants: the same due times and lengths. Prints p50 and p99 of TTFT and TPOT, and goodput, of both, with the simulation's interval; then
the median errors over the shapes that no fit saw, and the share of all runs inside the nominal 80 % intervals.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # shared with the test of the same figures
from support.beside_vllm import beside_measured, measured_names

FITTED = "llama-3.1-8b-shape"
FIGURES = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s")


def main() -> None:
    runs = {name: beside_measured(name) for name in measured_names()}
    for name, rows in runs.items():
        shown = (
            f"{r.name} {r.measured:.4g} / {r.simulated:.4g} [{r.low:.4g}, {r.high:.4g}] ({100 * r.error_fraction:+.0f} %)"
            for r in rows
        )
        print(f"{name}; measured / simulated: {'; '.join(shown)}")
    for figure in FIGURES:
        found = {name: next(r for r in rows if r.name == figure) for name, rows in runs.items()}
        errors = [100 * abs(r.error_fraction) for name, r in found.items() if not name.startswith(FITTED)]
        held = 100 * np.mean([r.low <= r.measured <= r.high for r in found.values()])
        print(
            f"{figure}: median error {np.median(errors):.1f} % over {len(errors)} runs of unseen shapes; "
            f"{held:.0f} % of {len(found)} runs in the interval"
        )


if __name__ == "__main__":
    main()
