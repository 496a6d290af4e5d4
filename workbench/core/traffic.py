"""Requests over time, drawn from rates and lengths; ``traces`` reads those of a file."""

import random
from dataclasses import dataclass, replace
from math import exp, log, log1p, sqrt

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

SPREAD = 0.8  # standard deviation of the logarithm of drawn lengths, near that of Azure's conversations


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace: when it comes and how long it is."""

    at_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    """What the prompt is made of, from its beginning: one id for each block, equal where all up to its end is equal."""
    block_tokens: int = 512
    """Tokens of the prompt that each of ``hash_ids`` stands for; the last may stand for fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lengths of requests: log-normal, around a median."""

    input_tokens: float
    """Median of the prompts."""
    output_tokens: float
    """Median of the answers."""
    input_sigma: float = SPREAD
    """Standard deviation of the logarithm of the prompts; 0 makes them equal."""
    output_sigma: float = SPREAD

    def draw(self, rng: random.Random) -> tuple[int, int]:
        """Return the tokens of a prompt and of its answer."""
        parts = ((self.input_tokens, self.input_sigma), (self.output_tokens, self.output_sigma))
        first, second = (max(1, round(rng.lognormvariate(log(median), sigma))) for median, sigma in parts)
        return first, second


def around_mean(input_tokens: float, output_tokens: float) -> Lengths:
    """Return lengths with these means."""
    median = exp(-(SPREAD**2) / 2)
    return Lengths(input_tokens=max(1.0, input_tokens * median), output_tokens=max(1.0, output_tokens * median))


def sigma_of(variation: float) -> float:
    """Return the standard deviation of the logarithm of log-normal lengths with a coefficient of variation."""
    return sqrt(log1p(variation**2))


def draw_arrivals(
    n: int, *, rate_per_s: float, lengths: Lengths, seed: int, gap_cv: float = 1.0, end_rate_per_s: float | None = None
) -> list[Arrival]:
    """Return arrivals with gamma-distributed gaps.

    Args:
        n: Number of requests.
        rate_per_s: Mean rate.
        lengths: What prompts and answers are drawn from.
        seed: Seed of the drawing.
        gap_cv: Coefficient of variation of the gaps; 1 is Poisson, more is burstier, 0 is constant.
        end_rate_per_s: Rate of the last request, up or down to which the rate moves evenly over time; the same rate if left out.
    """
    end_rate = rate_per_s if end_rate_per_s is None else end_rate_per_s
    if n < 1 or min(rate_per_s, end_rate) <= 0 or lengths.input_tokens < 1 or lengths.output_tokens < 1 or gap_cv < 0:
        raise InvalidSpec(
            gettext("{n} requests at {rate} a second with {input_tokens} and {output_tokens} tokens.").format(
                n=n, rate=rate_per_s, input_tokens=lengths.input_tokens, output_tokens=lengths.output_tokens
            ),
            remedy=gettext("Give numbers above zero."),
        )
    rng, at, made = random.Random(seed), 0.0, []
    for _ in range(n):
        at += rng.gammavariate(1 / gap_cv**2, gap_cv**2 / rate_per_s) if gap_cv else 1 / rate_per_s
        made.append(Arrival(at, *lengths.draw(rng)))
    if end_rate == rate_per_s:
        return made
    seconds = 2 * n / (rate_per_s + end_rate)
    return [
        replace(a, at_s=_on_ramp(a.at_s * rate_per_s, rate_per_s, end_rate, seconds=seconds, n_expected=n))
        for a in made
    ]


def _on_ramp(count: float, first: float, last: float, *, seconds: float, n_expected: float) -> float:
    """Return when so many requests have come at a rate that moves evenly from the first to the last, and then stays."""
    if count >= n_expected:
        return seconds + (count - n_expected) / last
    growth = (last - first) / seconds
    return 2 * count / (first + sqrt(max(0.0, first**2 + 2 * growth * count)))
