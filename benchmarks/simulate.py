"""How many requests a simulated engine answers in a second of this machine.

    python benchmarks/simulate.py [--trace FILE] [--faster F]

The trace is a CSV with columns TIMESTAMP, ContextTokens, GeneratedTokens (Azure's public ones); without one, 20 000 Poisson
arrivals with lengths like theirs (medians 1020 and 129). Prints requests and steps a second of one core, and waits.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from workbench.catalog.models import catalog_models
from workbench.core.traffic import drawn, read_trace
from workbench.experiments.device_calibration import machine_of
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import Engine, EngineLimits

MODEL, DEVICE, CACHE = "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", 896_912
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--faster", type=float, default=1.0, help="divides the times between arrivals")
    arguments = parser.parse_args()
    if arguments.trace:
        arrivals = read_trace(arguments.trace, speed=arguments.faster)
    else:
        arrivals = drawn(20_000, rate_per_s=5.5 * arguments.faster, input_tokens=1020, output_tokens=129, seed=0)
    machine, _ = machine_of(DEVICE)
    cost = step_cost(catalog_models()[MODEL], "bf16", machine)
    took = []
    for _ in range(ROUNDS):
        engine = Engine(cost, EngineLimits(cache_tokens=CACHE))
        started = time.perf_counter()
        answers = engine.run(arrivals)
        took.append(time.perf_counter() - started)
    per_s = len(arrivals) / np.median(took)
    ttft, tpot = [a.ttft_s for a in answers], [a.tpot_s for a in answers if a.tpot_s is not None]
    busy = engine.busy_s / engine.now_s
    print(
        f"{len(arrivals)} requests, {engine.n_steps} steps, {100 * busy:.0f} % busy: {per_s:.0f} requests/s simulated"
    )
    for name, values in (("TTFT", ttft), ("TPOT", tpot)):
        p50, p99 = np.quantile(values, [0.5, 0.99])
        print(f"{name} p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms")


if __name__ == "__main__":
    main()
