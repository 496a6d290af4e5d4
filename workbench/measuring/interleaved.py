"""Interleaved times of variants, and whether one is really faster on this machine."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from workbench.core.language import gettext
from workbench.core.statistics import drift_fraction, median_over_rounds

N = TypeVar("N", bound=np.generic)
SpeedVerdict: TypeAlias = Literal["faster", "slower", "no difference shown"]
SLICE_S = 0.012  # of one variant and batch in one round
WARM = 5
LEAST_ROUNDS = 3
"""Fewer rounds show no difference, whatever their ratios are."""
# Ratios nearer to 1 are called no difference, however narrow their interval: rounds share what drifts slowly.
NOTICEABLE = 1.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """Speed of a variant relative to a reference that was timed in the same rounds."""

    ratio: float
    """Time of the reference over the time of the variant, the median of the rounds: above 1 the variant is faster."""
    ratio_interval: tuple[float, float]
    """95 % interval over rounds."""
    verdict: SpeedVerdict
    """Faster or slower only where the whole interval lies beyond 3 % from 1 and the ratio does not drift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchTimes:
    """Times of a variant at one batch size; seconds are of a whole batch."""

    p50_s: float
    p50_interval_s: tuple[float, float] | None = None
    """95 % interval of the median over rounds; None where a run did not keep it."""
    p99_s: float
    n: int
    """Batches that were timed."""
    speedup: Speedup | None = None
    """Relative to the reference; None for the reference itself."""
    drift_fraction: float | None = None
    """Change from the first to the last third of the rounds; None below 6 rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Raw times of one variant at one batch size; seconds are of a whole batch."""

    rounds_s: list[float]
    """Median of each round."""
    samples_s: list[float]
    """Times of all batches."""


def interleaved_rounds(
    answers: Mapping[str, Callable[[npt.NDArray[N]], object]],
    inputs: npt.NDArray[N],
    *,
    batch: int,
    rounds: int,
    seed: int,
    least: int = 1,
    warm: int = WARM,
) -> Iterator[float | dict[str, Timed]]:
    """Time each variant once in each round, in an order drawn anew; yield the share that is done and, last, the times.

    Inputs go round, so that a variant whose time depends on the input meets all of them. ``least`` batches are timed in each round, after ``warm``
    that are not.
    """
    rng = random.Random(seed)
    names = list(answers)
    batches = [inputs[i : i + batch] for i in range(0, max(1, len(inputs) - batch + 1), batch)]
    if len(batches[0]) < batch:
        batches = [np.concatenate([inputs] * -(-batch // len(inputs)))[:batch]]
    times: dict[str, Timed] = {name: Timed(rounds_s=[], samples_s=[]) for name in names}
    for name in names:
        for _ in range(warm):
            answers[name](batches[0])
    for i in range(rounds):
        yield i / rounds
        rng.shuffle(names)
        for name in names:
            answer = answers[name]
            own: list[float] = []
            began = time.perf_counter()
            while len(own) < least or (time.perf_counter() - began < SLICE_S and len(own) < 400):
                x = batches[len(own) % len(batches)]
                before = time.perf_counter()
                answer(x)
                own.append(time.perf_counter() - before)
            times[name].rounds_s.append(float(np.median(own)))
            times[name].samples_s.extend(own)
    yield times


def interleaved_times(
    answers: Mapping[str, Callable[[npt.NDArray[N]], object]],
    inputs: npt.NDArray[N],
    *,
    batch: int,
    rounds: int,
    seed: int,
    least: int = 1,
) -> dict[str, Timed]:
    """Return the times of each variant, at least so many batches in each round, in an order drawn anew."""
    *_, times = interleaved_rounds(answers, inputs, batch=batch, rounds=rounds, seed=seed, least=least)
    assert isinstance(times, dict)
    return times


def cores_used(answer: Callable[[], object], *, seconds: float = 0.3) -> float:
    """Return processor time over time: some runtimes use more threads than they were given."""
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        answer()
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def speed_verdict(ratio_interval: tuple[float, float]) -> SpeedVerdict:
    """Return the gate's verdict: faster only where the whole interval lies noticeably above 1."""
    low, high = ratio_interval
    if low > NOTICEABLE:
        return "faster"
    return "slower" if high < 1 / NOTICEABLE else "no difference shown"


def shown_verdict(verdict: SpeedVerdict) -> str:
    """Return a verdict in the reader's language."""
    words: dict[SpeedVerdict, str] = {
        "faster": gettext("faster"),
        "slower": gettext("slower"),
        "no difference shown": gettext("no difference shown"),
    }
    return words[verdict]


def speedup_over(reference: Timed, own: Timed) -> Speedup:
    """Return the speed-up over a reference, from rounds in which both were timed, with an interval over rounds.

    A ratio that drifts by more than its interval shows no difference: rounds that share what drifts are no independent rounds.
    """
    ratios = np.array(reference.rounds_s) / np.array(own.rounds_s)
    middle = median_over_rounds(ratios)
    interval = (middle.low, middle.high)
    drifts = abs(drift_fraction(ratios.tolist()) or 0.0) * middle.value > max(middle.high - middle.low, NOTICEABLE - 1)
    verdict = "no difference shown" if drifts or ratios.size < LEAST_ROUNDS else speed_verdict(interval)
    return Speedup(ratio=middle.value, ratio_interval=interval, verdict=verdict)


def batch_times(timed: Timed, *, reference: Timed | None = None) -> BatchTimes:
    """Return p50 and p99 with the number of samples, and the speed-up where there is a reference."""
    samples = np.array(timed.samples_s)
    p50_s, rounds = float(np.quantile(samples, 0.5)), median_over_rounds(np.array(timed.rounds_s))
    times = BatchTimes(
        p50_s=p50_s,
        p50_interval_s=(min(rounds.low, p50_s), max(rounds.high, p50_s)),
        p99_s=float(np.quantile(samples, 0.99)),
        n=len(samples),
        drift_fraction=drift_fraction(timed.rounds_s),
    )
    return times if reference is None else replace(times, speedup=speedup_over(reference, timed))
