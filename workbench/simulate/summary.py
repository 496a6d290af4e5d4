"""What a simulation says: waits, and how many requests kept their promises."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.core.traffic import Arrival
from workbench.simulate.engine import Answer


def summary(answers: Sequence[Answer], arrivals: Sequence[Arrival], *, ttft_s: float, tpot_s: float) -> dict[str, Any]:
    """Percentiles in seconds, goodput in requests a second, and what share kept both promises.

    Args:
        answers: One for each arrival, in the same order.
        arrivals: What came in.
        ttft_s: Promise for the first token.
        tpot_s: Promise for the mean of the further ones.
    """
    ends = [a.at_s + b.e2e_s for a, b in zip(arrivals, answers, strict=True)]
    seconds = max(ends) - min(a.at_s for a in arrivals)
    kept = [b.ttft_s <= ttft_s and (b.tpot_s is None or b.tpot_s <= tpot_s) for b in answers]
    told: dict[str, Any] = {"n_requests": len(answers), "provenance": "simulated"}
    tpot = [b.tpot_s for b in answers if b.tpot_s is not None]
    for name, values in (("ttft", [b.ttft_s for b in answers]), ("tpot", tpot), ("e2e", [b.e2e_s for b in answers])):
        for q in (50, 90, 99):
            told[f"{name}_p{q}_s"] = float(np.quantile(values, q / 100)) if values else None
    return told | {
        "requests_per_s": len(answers) / seconds,
        "goodput_requests_per_s": sum(kept) / seconds,
        "kept_fraction": float(np.mean(kept)),
        "output_tokens_per_s": sum(b.output_tokens for b in answers) / seconds,
        "n_preempted": sum(b.n_preempted for b in answers),
    }
