"""Searching a batch: bracket what fits, then climb to the highest throughput, with few trials and no blind doubling."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

CLOSE = 0.1  # throughputs closer than this are compared again by further trials
SECOND = 5  # index of the second batch of a search (8): far enough from the first to tell a slope
OVER = 1.1  # a batch whose predicted memory is so many times the limit is not tried
QUANTILE = 0.9  # of the step times that must keep the latency limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One batch that was tried."""

    batch: int
    seconds: tuple[float, ...] = ()
    """Times of its steps; empty where none ended."""
    peak_bytes: float = 0.0
    """Peak memory of the device, weights included."""
    reason: Literal["latency", "memory"] | None = None
    """Why it is out: memory, latency; None when it keeps all limits."""

    @property
    def median_s(self) -> float:
        """Of its steps; infinite where none ended."""
        return float(np.median(self.seconds)) if self.seconds else float("inf")

    @property
    def per_s(self) -> float:
        """Throughput of this trial, in sequences per second."""
        return self.batch / self.median_s


@dataclass(slots=True)
class Search:
    """What was tried, in order, and what came of it."""

    trials: list[Trial] = field(default_factory=list)
    predicted_bytes: dict[int, float] = field(default_factory=dict)
    """Peak by batch, said before it was tried: a straight line through the smaller batches that had been tried."""

    def of(self, batch: int) -> list[Trial]:
        """Return the trials of a batch, in their order."""
        return [t for t in self.trials if t.batch == batch]

    def fits(self, batch: int) -> bool:
        """Return whether all trials of a batch kept all limits."""
        return bool(trials := self.of(batch)) and all(t.reason is None for t in trials)

    def per_s(self, batch: int) -> float:
        """Return the sequences per second over all trials of a batch; 0 where it does not fit."""
        if not self.fits(batch):
            return 0.0
        return batch / float(np.median(np.concatenate([t.seconds for t in self.of(batch)])))

    @property
    def best(self) -> int | None:
        """The batch with the highest throughput of those that fit."""
        fitting = [b for b in sorted({t.batch for t in self.trials}) if self.fits(b)]
        return max(fitting, key=self.per_s, default=None)


def grid(largest: int) -> list[int]:
    """Return the batch sizes to choose from: 1, 2, 3, 4, 6, 8, 12, ... and the largest."""
    sizes = {b for power in range(largest.bit_length()) for b in (2**power, 2**power * 3 // 2)}
    return sorted(b for b in sizes | {largest} if b <= largest)


def search(
    try_batch: Callable[[int], Trial], *, largest: int, memory_bytes: float, state: Search | None = None
) -> Iterator[Trial]:
    """Yield trials until the best batch is known; ``state`` collects them.

    First the largest batch that fits: from two small ones, memory is a straight line, and the batch at which that
    line meets the limit is tried next; then the bracket between the largest that fits and the smallest that does not
    is halved. No batch is tried whose predicted memory is above the limit by more than a tenth. Then throughput is
    climbed over the batches that fit, and the best is tried again, interleaved with its neighbours. ``try_batch`` says
    itself which limits are kept; ``memory_bytes`` is for predictions.
    """
    state = state if state is not None else Search()
    choices = grid(largest)

    def tried(at: int) -> Trial:
        batch = choices[at]
        predicted = _predicted(state, batch)
        if predicted is not None:
            state.predicted_bytes.setdefault(batch, predicted)
        trial = try_batch(batch)
        state.trials.append(trial)
        return trial

    fitting = yield from _bracket(state, choices, tried, memory_bytes)
    if fitting is not None:
        yield from _climb(state, choices, tried, fitting)
        yield from _again(state, choices[: fitting + 1], tried)


def _bracket(
    state: Search, choices: list[int], tried: Callable[[int], Trial], memory_bytes: float
) -> Generator[Trial, None, int | None]:
    """Yield trials until the largest batch that fits is known; return its index, None where not even the smallest does."""
    low, high = -1, len(choices)  # the last that fits, the first that does not
    for at in (0, min(SECOND, len(choices) - 1)):
        if low < at < high:
            trial = tried(at)
            yield trial
            low, high = (at, high) if trial.reason is None else (low, at)
    jump = _last_within(state, choices, memory_bytes)
    while high - low > 1:
        at = (low + high) // 2 if jump is None else min(max(low + 1, jump), high - 1)
        jump = None
        if (_predicted(state, choices[at]) or 0.0) > OVER * memory_bytes:
            high = at
            continue
        trial = tried(at)
        yield trial
        low, high = (at, high) if trial.reason is None else (low, at)
    return low if low >= 0 else None


def _climb(state: Search, choices: list[int], tried: Callable[[int], Trial], last: int) -> Iterator[Trial]:
    """Yield trials until the highest throughput is bracketed; throughput is taken to have one maximum."""
    left, right = 0, last
    while right - left > 2:
        middle = (left + right) // 2
        for at in (middle, middle + 1):
            if not state.of(choices[at]):
                yield tried(at)
        if state.per_s(choices[middle + 1]) >= state.per_s(choices[middle]):
            left = middle
        else:
            right = middle + 1
    for at in range(left, right + 1):
        if not state.of(choices[at]):
            yield tried(at)


def _again(state: Search, choices: list[int], tried: Callable[[int], Trial]) -> Iterator[Trial]:
    """Yield further, interleaved trials of the best batch and its neighbours, where they are close."""
    if state.best is None:
        return
    at = choices.index(state.best)
    top = state.per_s(state.best)
    near = [i for i in range(max(0, at - 1), min(len(choices), at + 2)) if state.per_s(choices[i]) >= (1 - CLOSE) * top]
    if len(near) > 1:
        for i in near * 2:
            yield tried(i)


def _predicted(state: Search, batch: int) -> float | None:
    """Return the peak memory on a line through the two largest smaller batches that were measured."""
    known = {t.batch: t.peak_bytes for t in state.trials if t.seconds and t.batch < batch}
    if len(known) < 2:
        return None
    a, b = sorted(known)[-2:]
    slope = (known[b] - known[a]) / (b - a)
    return known[b] + max(0.0, slope) * (batch - b)


def _last_within(state: Search, choices: list[int], memory_bytes: float) -> int | None:
    """Return the index of the largest batch whose predicted memory is within the limit."""
    inside = [i for i, b in enumerate(choices) if (_predicted(state, b) or 0.0) <= memory_bytes]
    return inside[-1] if inside else None
