"""When a small model may answer instead of a large one, with a guarantee on the accuracy that this loses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STEPS = 200  # thresholds that are tried, from the most careful on


def most_likely_share(n_events: int, n: int, *, level: float) -> float:
    """Return the upper limit of a share that is not exceeded at this level: Clopper and Pearson 1934, one-sided."""
    from scipy.stats import beta

    return 1.0 if n_events >= n else float(beta.ppf(level, n_events + 1, n - n_events))


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A confidence from which on the small model's answer is taken."""

    confidence: float
    """Above 1 where no threshold can be guaranteed: nothing exits early."""
    exit_fraction: float
    """Share of the inputs that leave early, on the inputs it was chosen on."""
    lost_fraction: float
    """Share of them that the cascade answers wrongly and the large model rightly."""
    limit_fraction: float
    """Largest loss that is guaranteed."""
    level: float
    """Confidence of the guarantee."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What a threshold gives on data that it was not chosen on."""

    lost_fraction: float
    """Share of the inputs that are answered wrongly early, and rightly by the large model."""
    exit_fraction: float
    """Share of the inputs that exit early."""
    n: int


def guaranteed_threshold(
    confidence: Floats, is_lost: npt.NDArray[np.bool_], *, most_lost: float, level: float = 0.95
) -> Threshold:
    """Return the lowest threshold with a guarantee: with probability ``level`` no more than ``most_lost`` of new inputs are lost.

    Thresholds are tested from the most careful on, each by its Clopper-Pearson limit, and the first that fails ends the
    search; in that fixed order the chance of any wrong acceptance is at most 1 - ``level`` (fixed sequence testing: Angelopoulos,
    Bates, Candès, Jordan and Lei 2021, Learn then Test, arXiv 2110.01052).

    Args:
        confidence: (n,) of the small model's answers, between 0 and 1, on inputs that neither model learnt from.
        is_lost: (n,) whether taking its answer loses: it is wrong and the large model's is right.
        most_lost: Share of all inputs.
        level: Of the guarantee.
    """
    n = len(confidence)
    chosen, lost_there = float("inf"), 0
    for threshold in np.unique(np.quantile(confidence, np.linspace(0, 1, STEPS)))[::-1]:
        exits = confidence >= threshold
        lost = int(np.sum(exits & is_lost))
        if most_likely_share(lost, n, level=level) > most_lost:
            break
        chosen, lost_there = float(threshold), lost
    return Threshold(
        confidence=chosen if np.isfinite(chosen) else 1.1,
        exit_fraction=float(np.mean(confidence >= chosen)),
        lost_fraction=lost_there / n,
        limit_fraction=most_lost,
        level=level,
        n=n,
    )


def softmax_confidence(logits: npt.NDArray[np.float32]) -> Floats:
    """Return the probability of the likeliest class: (n,) for logits: (n, classes)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(1.0 / np.exp(shifted).sum(1))
