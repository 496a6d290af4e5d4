"""When requests are due and how long they are."""

import csv
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec
from workbench.load.messages import Schedule
from workbench.load.spec import LoadSpec

Floats = npt.NDArray[np.float64]
MAX_REQUESTS = 1_000_000
CLOSED_LENGTHS = 10_000
"""Lengths that a closed loop draws; after the last they begin anew, with other prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One request of a trace."""

    due_s: float
    input_tokens: int
    output_tokens: int


def schedule(spec: LoadSpec) -> Schedule:
    """Return when the requests of a spec are due, in that order, and how long they are."""
    rng = np.random.default_rng(spec.seed)
    if spec.arrivals == "trace":
        assert spec.trace is not None
        planned = [p for p in read_trace(Path(spec.trace), speed=spec.trace_speed) if p.due_s < spec.duration_s]
        return Schedule(
            due_s=tuple(p.due_s for p in planned),
            input_tokens=tuple(p.input_tokens for p in planned),
            output_tokens=tuple(p.output_tokens for p in planned),
        )
    due: tuple[float, ...] | None = None
    if spec.arrivals != "closed":
        due = tuple(_due_times(spec, rng).tolist())
        if not due:
            nothing = f"{spec.rate_per_s} requests/s for {spec.duration_s} s send nothing."
            raise InvalidSpec(nothing, remedy="Raise the rate or the duration.")
    n = CLOSED_LENGTHS if due is None else len(due)
    inputs = _lengths(spec.input_tokens, spec.input_cv, n, rng).tolist()
    outputs = _lengths(spec.output_tokens, spec.output_cv, n, rng).tolist()
    return Schedule(due_s=due, input_tokens=tuple(inputs), output_tokens=tuple(outputs))


def n_left_out(spec: LoadSpec) -> int:
    """Return how many requests of a trace come after the end of the load."""
    if spec.arrivals != "trace" or spec.trace is None:
        return 0
    return sum(p.due_s >= spec.duration_s for p in read_trace(Path(spec.trace), speed=spec.trace_speed))


def _due_times(spec: LoadSpec, rng: np.random.Generator) -> Floats:
    rate, duration = spec.rate_per_s, spec.duration_s
    top = max(rate, spec.end_rate_per_s or 0.0)
    if top * duration > MAX_REQUESTS:
        raise InvalidSpec(f"{top * duration:.0f} requests are too many for one run.", remedy="Shorten the run.")
    if spec.arrivals == "constant":
        return np.arange(round(rate * duration)) / rate
    if spec.arrivals == "ramp":  # thinning of a Poisson process, Lewis and Shedler 1979
        assert spec.end_rate_per_s is not None
        candidates = _until(rng.exponential(1 / top, _enough(top * duration)), duration)
        rates = rate + (spec.end_rate_per_s - rate) * candidates / duration
        return candidates[rng.random(candidates.size) < rates / top]
    shape = 1.0 if spec.arrivals == "poisson" else spec.gamma_cv**-2
    return _until(rng.gamma(shape, 1 / (rate * shape), _enough(rate * duration, spec.gamma_cv)), duration)


def _enough(mean: float, cv: float = 1.0) -> int:
    return int(mean + 10 * max(1.0, cv) * np.sqrt(mean) + 50 * max(1.0, cv))


def _until(gaps: Floats, duration: float) -> Floats:
    times: Floats = np.cumsum(gaps)
    return times[times < duration]


def _lengths(mean: int, cv: float, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if cv <= 0:
        return np.full(n, mean)
    sigma = np.sqrt(np.log1p(cv**2))
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n)
    return np.maximum(1, np.round(drawn)).astype(np.int64)


def read_trace(path: Path, *, speed: float = 1.0) -> list[Planned]:
    """Return the requests of a trace file, ``speed`` times as fast.

    Raises ``InvalidSpec`` for any other file.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(
            f"The trace {path} cannot be read: {error}.", remedy="Name a CSV or JSON lines file."
        ) from error
    try:
        rows = _json_rows(text) if text.lstrip().startswith("{") else _azure_rows(text)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSpec(
            f"The trace {path} has a line that cannot be read ({type(error).__name__}: {error}).",
            remedy="Columns are TIMESTAMP, ContextTokens, GeneratedTokens, or JSON lines with timestamp_s, input_tokens, output_tokens.",
        ) from error
    rows.sort()
    first = rows[0][0] if rows else 0.0
    planned = [Planned(due_s=(t - first) / speed, input_tokens=max(1, i), output_tokens=max(1, o)) for t, i, o in rows]
    if not planned:
        raise InvalidSpec(f"The trace {path} has no requests.", remedy="Name another file.")
    return planned


def _azure_rows(text: str) -> list[tuple[float, int, int]]:
    rows = []
    for row in csv.DictReader(text.splitlines()):
        moment = datetime.fromisoformat(row["TIMESTAMP"][:26])
        rows.append((moment.timestamp(), int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    return rows


def _json_rows(text: str) -> list[tuple[float, int, int]]:
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [(float(x["timestamp_s"]), int(x["input_tokens"]), int(x["output_tokens"])) for x in lines]
