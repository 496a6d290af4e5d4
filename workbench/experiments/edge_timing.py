"""Times of variants in turns, and whether one is really faster here."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.core.statistics import quantile_interval

Floats = npt.NDArray[np.float32]
Answer = Callable[[Floats], Any]
SLICE_S = 0.012  # of one variant and batch in one round
WARM = 5
DRAWS = 2000
NOTICEABLE = (
    1.03  # ratios nearer to 1 are called no difference, however narrow their interval: rounds share what drifts slowly
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One variant at one batch. Seconds are of a whole batch."""

    rounds_s: list[float]
    """Median of each round."""
    samples_s: list[float]
    """All of them."""


def in_turns(
    answers: Mapping[str, Answer], inputs: Floats, *, batch: int, rounds: int, seed: int
) -> Iterator[float | dict[str, Timed]]:
    """Each variant once in each round, in an order drawn anew; yields the share done and, last, the times.

    Inputs go round, so that a variant whose time depends on the input meets all of them.
    """
    rng = random.Random(seed)
    names = list(answers)
    batches = [inputs[i : i + batch] for i in range(0, max(1, len(inputs) - batch + 1), batch)]
    if len(batches[0]) < batch:
        batches = [np.concatenate([inputs] * -(-batch // len(inputs)))[:batch]]
    found: dict[str, Timed] = {name: Timed(rounds_s=[], samples_s=[]) for name in names}
    for name in names:
        for _ in range(WARM):
            answers[name](batches[0])
    for i in range(rounds):
        yield i / rounds
        rng.shuffle(names)
        for name in names:
            answer = answers[name]
            own: list[float] = []
            began = time.perf_counter()
            while not own or (time.perf_counter() - began < SLICE_S and len(own) < 400):
                x = batches[len(own) % len(batches)]
                before = time.perf_counter()
                answer(x)
                own.append(time.perf_counter() - before)
            found[name].rounds_s.append(float(np.median(own)))
            found[name].samples_s.extend(own)
    yield found


def cores_used(answer: Callable[[], Any], *, seconds: float = 0.3) -> float:
    """Processor time over time: some runtimes take more threads than they were told."""
    began, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        answer()
    return (time.process_time() - cpu) / (time.perf_counter() - began)


def verdict(ratio_interval: tuple[float, float]) -> str:
    """The gate: a technique is called faster only where the whole interval lies noticeably above 1."""
    low, high = ratio_interval
    if low > NOTICEABLE:
        return "faster"
    return "slower" if high < 1 / NOTICEABLE else "no difference shown"


def compared(reference: Timed, other: Timed, *, seed: int) -> dict[str, Any]:
    """How many times as fast, from rounds in which both were timed, with a bootstrap interval over rounds."""
    ratios = np.array(reference.rounds_s) / np.array(other.rounds_s)
    rng = np.random.default_rng(seed)
    drawn = np.median(rng.choice(ratios, (DRAWS, len(ratios))), axis=1)
    low, high = (float(v) for v in np.quantile(drawn, [0.025, 0.975]))
    return {"ratio": float(np.median(ratios)), "ratio_interval": [low, high], "verdict": verdict((low, high))}


def times_of(timed: Timed) -> dict[str, Any]:
    """p50 and p99 with the number of samples."""
    samples = np.array(timed.samples_s)
    middle = quantile_interval(samples, 0.5)
    return {
        "p50_s": middle.value,
        "p50_interval_s": [middle.low, middle.high],
        "p99_s": float(np.quantile(samples, 0.99)),
        "n": len(samples),
    }
