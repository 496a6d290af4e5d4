"""What a file of another load generator holds, in the words of the workbench."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from workbench.core.errors import StoreError
from workbench.core.rows import Failure, Json
from workbench.load.request_record import RequestRecord

T = TypeVar("T")
NOT_RECORDED = "not recorded"
MOST_CHARACTERS = 300
"""Longest text of an error that is kept of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerResult:
    """A load that another tool measured; a file with several loads gives several of these."""

    tool: str
    model: str
    records: tuple[RequestRecord, ...]
    date: str = ""
    """In ISO 8601; empty where the file has none."""
    settings: dict[str, Json] = field(default_factory=dict)
    """What the file says of the load: rate, concurrency, number of prompts."""
    has_gaps: bool = True
    """Whether the gaps between tokens are in the file; if not, a record has the first and the last one only."""
    has_times: bool = True
    """Whether the file tells when requests were sent; if not, each record counts from its own start, in their order."""
    duration_s: float | None = None
    """Length of the load where the file tells it without the times of its requests."""
    lacks: tuple[Failure, ...] = ()
    """What the file does not tell, in words."""


def converted(value: object, kind: type[T], tool: str) -> T:
    """Return a part of a file as a type.

    Raises:
        StoreError: It is not what the tool writes.
    """
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise StoreError(
            f"The file is not what {tool} writes: {error}.", remedy=f"Measure with {tool} again."
        ) from error


def names(document: object) -> frozenset[str]:
    """Return the names of a JSON object's fields; none for anything else."""
    return frozenset(document) if isinstance(document, Mapping) else frozenset()


def known(seconds: float | None) -> float | None:
    """Return a moment or length; None where a tool writes -1 or no number for "unknown"."""
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def settings(**values: Json) -> dict[str, Json]:
    """Return settings as JSON can hold them: an infinite rate is the word that the tools use for it."""
    return {k: "inf" if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def error_text(text: str | None, *, otherwise: str, last_line: bool = False) -> str:
    """Return one line of an error, the last one of a traceback."""
    lines = (text or "").strip().splitlines()
    line = lines[-1 if last_line else 0].strip() if lines else ""
    return (line or otherwise)[:MOST_CHARACTERS]


def two_ends(
    first: float | None, last: float | None, n_tokens: int
) -> tuple[tuple[float, ...], tuple[int, ...] | None]:
    """Return arrivals and their tokens where only those of the first and of the last token are known."""
    arrivals = tuple(dict.fromkeys(s for s in (first, last) if s is not None))
    return arrivals, (1, n_tokens - 1) if len(arrivals) == 2 and n_tokens > 1 else None


def with_streaming(
    records: tuple[RequestRecord, ...], tool: str, option: str
) -> tuple[tuple[RequestRecord, ...], tuple[Failure, ...]]:
    """Return the requests of a load, and why it has no TTFT, TPOT and ITL if none of its answers was streamed."""
    ok = [r for r in records if r.ok]
    if not ok or any(r.is_streamed for r in ok):
        return records, ()
    failure = Failure(
        cause="The answers were not streamed: the file has no first token, so TTFT, TPOT and ITL are not known.",
        remedy=f"Run {tool} {option}.",
    )
    return tuple(replace(r, is_streamed=False) for r in records), (failure,)


def utc(epoch_s: float) -> str:
    """Return a moment in ISO 8601, to the second."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="seconds")


def require_equal_lengths(lists: Mapping[str, Sequence[object]], command: str) -> None:
    """Check that each request has a value in each list.

    Raises:
        StoreError: Which value belongs to which request is not known.
    """
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in lists.items())
        raise StoreError(
            f"The lists of the file's requests have different lengths ({lengths}).",
            remedy=f"Which value belongs to which request is not known; run {command} again.",
        )
