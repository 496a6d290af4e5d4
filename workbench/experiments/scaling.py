"""Rules for scaling on real traffic: what each costs, and how long promises are broken."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np

from workbench.catalog.paths import DATA
from workbench.core.errors import InvalidSpec
from workbench.core.traffic import read_trace
from workbench.simulate.autoscaling import (
    Covered,
    Fixed,
    Played,
    Predictive,
    QueueLength,
    Relief,
    Rule,
    Traffic,
    Utilisation,
    play,
)

TRAFFIC = DATA / "traffic"
TRACES = {"conv": "Azure 2023, conversations", "code": "Azure 2023, code"}
PROMPT_TOKENS_PER_S, ANSWER_TOKENS_PER_S = 64_000.0, 8_000.0
"""Of one H200 with an 8B model in BF16 (vLLM 0.26.0): with these it answers 22.4 of the conversations a second, as measured at saturation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingCase:
    """Traffic, and what replicas are like."""

    trace: str = "conv"
    """Of ``TRACES``, or a CSV file as Azure publishes them."""
    times: float = 10.0
    """So many times the requests."""
    start_s: float = 120.0
    promised_s: float = 1.0
    prompt_tokens_per_s: float = PROMPT_TOKENS_PER_S
    answer_tokens_per_s: float = ANSWER_TOKENS_PER_S
    warm: int = 1
    cached: float = 0.15
    """Share of requests that a cache would answer."""

    def __post_init__(self) -> None:
        if min(self.times, self.start_s, self.promised_s, self.prompt_tokens_per_s, self.answer_tokens_per_s) <= 0:
            raise InvalidSpec(f"{self} is no case.", remedy="Give numbers above zero.")
        if self.warm < 0 or not 0 <= self.cached < 1:
            raise InvalidSpec(f"{self.warm} warm, {self.cached} cached.", remedy="Give 0 or more, and a share below 1.")


def traffic_of(case: ScalingCase) -> Traffic:
    """Requests and work by second; raises ``InvalidSpec`` for a file that is no trace."""
    if case.trace in TRACES:
        with (TRAFFIC / f"azure_2023_{case.trace}.csv").open(newline="") as file:
            table = np.array([[float(x) for x in r.values()] for r in csv.DictReader(file)])
        spans = np.repeat(table[:, 1:] / 2, 2, axis=0)  # counts are of two seconds
    else:
        arrivals = read_trace(Path(case.trace).expanduser())
        seconds = np.array([int(a.at_s) for a in arrivals])
        spans = np.zeros((seconds.max() + 1, 3))
        np.add.at(spans, seconds, [[1, a.input_tokens, a.output_tokens] for a in arrivals])
    work = spans[:, 1] / case.prompt_tokens_per_s + spans[:, 2] / case.answer_tokens_per_s
    return Traffic(requests=spans[:, 0] * case.times, work_s=work * case.times)


def compared(case: ScalingCase) -> dict[str, Played]:
    """Every rule, and what else the FAQ names, on the same traffic."""
    traffic = traffic_of(case)
    mean, peak = float(traffic.work_s.mean()), float(np.quantile(_minutes(traffic.work_s), 0.999))
    enough, first = max(1, ceil(peak / 0.8)), max(1, ceil(mean / 0.7))
    shorter = Relief(shorter_above_s=case.promised_s / 2)

    def rule(make: Callable[[], Rule], *, warm: int = 0, relief: Relief | None = None) -> Played:
        return play(
            traffic,
            make(),
            start_s=case.start_s,
            promised_s=case.promised_s,
            first=first,
            most=4 * enough,
            warm=warm,
            relief=relief,
        )

    def fixed(n: int) -> Played:
        return play(traffic, Fixed(n=n), start_s=case.start_s, promised_s=case.promised_s, first=n)

    def covered() -> Rule:
        return Covered(start_s=case.start_s)

    return {
        f"fixed, for the peak minute ({enough})": fixed(enough),
        f"fixed, for the mean ({first})": fixed(first),
        "queue length (KEDA: 5 waiting)": rule(QueueLength),
        "utilisation (HPA: 70 %)": rule(Utilisation),
        "predictive (trend)": rule(lambda: Predictive(start_s=case.start_s)),
        "ours (trend with its errors covered)": rule(covered),
        f"ours, {case.warm} warm": rule(covered, warm=case.warm),
        "ours, shorter answers": rule(covered, relief=shorter),
        f"ours, {100 * case.cached:.0f} % from a cache": rule(covered, relief=Relief(cached=case.cached)),
    }


def _minutes(work_s: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Means over a minute."""
    return np.convolve(work_s, np.ones(60) / 60, mode="valid") if work_s.size >= 60 else work_s
