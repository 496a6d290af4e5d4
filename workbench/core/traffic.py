"""Requests over time: drawn from rates and lengths, or read from a public trace."""

import csv
import random
from dataclasses import dataclass
from datetime import datetime
from math import log
from pathlib import Path

from workbench.core.errors import InvalidSpec

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
"""Of Azure's traces (github.com/Azure/AzurePublicDataset, CC BY 4.0)."""
SPREAD = 0.8  # standard deviation of the logarithm of drawn lengths, near that of Azure's conversations


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request."""

    at_s: float
    input_tokens: int
    output_tokens: int


def drawn(
    n: int, *, rate_per_s: float, input_tokens: float, output_tokens: float, seed: int, gap_cv: float = 1.0
) -> list[Arrival]:
    """Arrivals with gamma-distributed gaps and lognormal lengths of the given medians.

    Args:
        n: Requests.
        rate_per_s: Mean.
        input_tokens: Median.
        output_tokens: Median.
        seed: Of the drawing.
        gap_cv: Coefficient of variation of the gaps; 1 is Poisson, more is burstier.
    """
    if n < 1 or rate_per_s <= 0 or input_tokens < 1 or output_tokens < 1 or gap_cv <= 0:
        raise InvalidSpec(
            f"{n} requests at {rate_per_s} a second with {input_tokens} and {output_tokens} tokens.",
            remedy="Give numbers above zero.",
        )
    rng, at, made = random.Random(seed), 0.0, []
    for _ in range(n):
        at += rng.gammavariate(1 / gap_cv**2, gap_cv**2 / rate_per_s)
        lengths = (max(1, round(rng.lognormvariate(log(median), SPREAD))) for median in (input_tokens, output_tokens))
        made.append(Arrival(at, *lengths))
    return made


def read_trace(path: Path, *, speed: float = 1.0) -> list[Arrival]:
    """The arrivals of a CSV file with ``COLUMNS``, from its first request on; raises ``InvalidSpec`` for other files.

    Args:
        path: The file.
        speed: Divides the times between requests.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        at = [datetime.fromisoformat(r["TIMESTAMP"][:26]).timestamp() for r in rows]
        return [
            Arrival((t - at[0]) / speed, max(1, int(r["ContextTokens"])), max(1, int(r["GeneratedTokens"])))
            for t, r in zip(at, rows, strict=True)
        ]
    except (OSError, UnicodeDecodeError, KeyError, ValueError, TypeError, IndexError, csv.Error) as error:
        raise InvalidSpec(
            f"The trace {path} cannot be read: {type(error).__name__} {error}.",
            remedy=f"Give a CSV file with the columns {', '.join(COLUMNS)}.",
        ) from error
