"""How often a rollout errs, simulated: healthy versions that are rolled back, and worse ones that are caught before they have everybody.

    python benchmarks/rollouts.py [--runs 1000] [--processes 2] [--only 'healthy'] [--first-seed 0]

Every request goes through the assignment, the tests and the steps that the gateway uses; only the journal is left out. "Caught" means rolled
back before the last step. The rates that are printed are shares of the runs, with their Wilson intervals at 95 %.
"""

import argparse
from functools import partial
from multiprocessing import Pool

from workbench.core.statistics import share_interval
from workbench.release.journal import Phase
from workbench.release.rule import CanaryRule
from workbench.simulate.canaries import Played, Traffic, play

BY_REQUEST, BY_USER = CanaryRule(), CanaryRule(assignment="user")
SCENARIOS: dict[str, tuple[Traffic, CanaryRule]] = {
    **{f"healthy, Zipf traffic of {n:,} users": (Traffic(n_users=n), BY_REQUEST) for n in (3, 10, 100, 1000, 10_000)},
    "healthy, one tenant without users": (Traffic(n_users=1, has_user=False), BY_REQUEST),
    "healthy, 5 % of 1,000 users always fail": (Traffic(uneven=0.05), BY_REQUEST),
    "healthy, failures in bursts of 3": (Traffic(burst=3), BY_REQUEST),
    "healthy, failures in bursts of 10": (Traffic(burst=10), BY_REQUEST),
    "healthy, bursts of 3 on 4 servers each": (Traffic(burst=3, servers=4), BY_REQUEST),
    "healthy, failures 10 %": (Traffic(failures=(0.1, 0.1)), BY_REQUEST),
    "failures 1 to 2 %": (Traffic(failures=(0.01, 0.02)), BY_REQUEST),
    "failures 1 to 3 %, 3 users": (Traffic(n_users=3, failures=(0.01, 0.03)), BY_REQUEST),
    "failures 1 to 3 %, 1,000 users": (Traffic(failures=(0.01, 0.03)), BY_REQUEST),
    "failures 1 to 3 %, bursts of 3": (Traffic(failures=(0.01, 0.03), burst=3), BY_REQUEST),
    "failures 1 to 50 %": (Traffic(failures=(0.01, 0.5)), BY_REQUEST),
    "failures 10 to 90 %": (Traffic(failures=(0.1, 0.9)), BY_REQUEST),
    "dead": (Traffic(failures=(0.01, 1.0)), BY_REQUEST),
    "TTFT +10 %": (Traffic(slower=1.1), BY_REQUEST),
    "TTFT +30 %": (Traffic(slower=1.3), BY_REQUEST),
    "users assigned: healthy, 1,000 users": (Traffic(), BY_USER),
    "users assigned: healthy, 5 % always fail": (Traffic(uneven=0.05), BY_USER),
    "users assigned: failures 1 to 3 %, 1,000 users": (Traffic(failures=(0.01, 0.03)), BY_USER),
    "users assigned: failures 1 to 3 %, 10,000 users": (Traffic(n_users=10_000, failures=(0.01, 0.03)), BY_USER),
    "users assigned: failures 1 to 3 %, 10 users": (Traffic(n_users=10, failures=(0.01, 0.03)), BY_USER),
    "users assigned: dead, 10,000 users": (Traffic(n_users=10_000, failures=(0.01, 1.0)), BY_USER),
}


def row(played: list[Played]) -> str:
    n = len(played)
    back = [p for p in played if p.phase is Phase.ROLLED_BACK]
    n_early = sum(p.step < len(BY_REQUEST.steps) - 1 for p in back)
    caught = share_interval(n_early, n)
    requests = sorted(p.n_new for p in played)
    cells = (
        f"{100 * len(back) / n:.1f} % | {100 * n_early / n:.1f} % ({100 * caught.low:.1f} to {100 * caught.high:.1f})"
    )
    return f"{cells} | {requests[n // 2]:,} | {requests[-1]:,} | {sum(p.phase is Phase.RUNNING for p in played)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="Rollouts of each scenario.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", default="", help="Text in the names of the scenarios to play.")
    parser.add_argument("--first-seed", type=int, default=0)
    args = parser.parse_args()
    rule = BY_REQUEST
    print(
        f"{rule.requests_per_step} requests of the new version a step, more where failures come in bursts or users are assigned, so that "
        f"failures of {100 * rule.usual_failures:g} to {100 * rule.caught_failures:g} % are caught with {100 * rule.power:g} %; {args.runs} runs each\n"
    )
    print(
        "| scenario | rolled back | caught before the last step | requests of the new version, median | most | undecided |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    with Pool(args.processes) as pool:
        for name, (traffic, judged) in SCENARIOS.items():
            if args.only in name:
                seeds = range(args.first_seed, args.first_seed + args.runs)
                played = pool.map(partial(_played, traffic, judged), seeds, chunksize=5)
                print(f"| {name} | {row(played)} |", flush=True)


def _played(traffic: Traffic, rule: CanaryRule, seed: int) -> Played:
    return play(traffic, rule, seed=seed)


if __name__ == "__main__":
    main()
