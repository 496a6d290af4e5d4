"""How many requests a simulated engine answers in a second of this machine.

    python benchmarks/simulate.py [--trace FILE] [--faster F]

The trace is one that ``workbench simulate`` reads, such as Azure's and Mooncake's; without one, 20 000 Poisson
arrivals with lengths like theirs (medians 1020 and 129), also with hash ids (a quarter go on from the request before). Prints requests
a second of one core's time, and waits.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from workbench.catalog.models import catalog_models
from workbench.core.traces import read_trace
from workbench.core.traffic import Arrival, Lengths, draw_arrivals
from workbench.estimate.device_calibration import machine_of
from workbench.simulate.costs import TabulatedCost, step_cost
from workbench.simulate.engine import Engine, EngineLimits

MODEL, DEVICE, CACHE = "meta-llama/Meta-Llama-3.1-8B", "h200-sxm", 896_912
LENGTHS = Lengths(input_tokens=1020, output_tokens=129)
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--faster", type=float, default=1.0, help="divides the times between arrivals")
    arguments = parser.parse_args()
    if arguments.trace:
        arrivals = read_trace(arguments.trace, speed=arguments.faster).arrivals
    else:
        arrivals = draw_arrivals(20_000, rate_per_s=5.5 * arguments.faster, lengths=LENGTHS, seed=0)
    machine, _ = machine_of(DEVICE)
    cost = step_cost(catalog_models()[MODEL], "bf16", machine)
    if not arguments.trace:
        measured(named(arrivals), cost)
    measured(arrivals, cost)


def named(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return the arrivals with hash ids, of which every fourth goes on from the one before."""
    made, first = [], 0
    for i, arrival in enumerate(arrivals):
        first += 0 if i % 4 == 1 else 1000
        n = -(-arrival.input_tokens // 512)
        made.append(replace(arrival, hash_ids=tuple(range(first, first + n)), block_tokens=512))
    return made


def measured(arrivals: Sequence[Arrival], cost: TabulatedCost) -> None:
    """Print how fast the arrivals are simulated, and what they wait."""
    took = []
    for _ in range(ROUNDS):
        engine = Engine(cost, EngineLimits(cache_tokens=CACHE))
        started = time.process_time()
        answers = engine.run(arrivals)
        took.append(time.process_time() - started)
    per_s = len(arrivals) / np.median(took)
    ttft, tpot = [a.ttft_s for a in answers], [a.tpot_s for a in answers if a.tpot_s is not None]
    busy = engine.busy_s / engine.now_s
    print(
        f"{len(arrivals)} requests, {engine.n_steps} steps, {100 * busy:.0f} % busy: {per_s:.0f} requests/s simulated"
    )
    if engine.prompt_tokens:
        print(f"prefix cache hits {100 * engine.hit_tokens / engine.prompt_tokens:.1f} % of the prompt tokens")
    for name, values in (("TTFT", ttft), ("TPOT", tpot)):
        p50, p99 = np.quantile(values, [0.5, 0.99])
        print(f"{name} p50 {1e3 * p50:.1f} ms, p99 {1e3 * p99:.1f} ms")


if __name__ == "__main__":
    main()
