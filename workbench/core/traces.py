"""Traces of requests, read from the files that public data sets and load generators use.

The form is recognised by the columns of a CSV file, or the keys of JSON lines (or of a list in a JSON file):

    TIMESTAMP, ContextTokens, GeneratedTokens       Azure 2023 and 2024 (github.com/Azure/AzurePublicDataset)
    Timestamp, Request tokens, Response tokens      BurstGPT (github.com/HPMLL/BurstGPT), seconds
    timestamp, input_length, output_length          Mooncake, AIPerf (ms); guidellm, Bailian, vLLM's timed_trace (s)
    timestamp_s, input_tokens, output_tokens        the workbench's own

CSV may be separated by commas, tabs or semicolons, and each file may be compressed with gzip. The last two may have ``hash_ids``: one for each block of the prompt; where ids are equal, so is all up to the end of the block.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, isfinite
from pathlib import Path
from typing import TypeAlias

from workbench.core.errors import InvalidSpec, system_message
from workbench.core.language import gettext, gettext_noop
from workbench.core.rows import Json
from workbench.core.traffic import Arrival

MOST_TOKENS = 100_000_000
"""Of a prompt or an answer; more is a mistake of the file."""
BLOCK_SIZES = (512, 16, 64)
"""Tokens of a block that a hash id stands for: Mooncake's, Bailian's and vLLM's, WEKA's."""
DELIMITERS = ",\t;"
GZIP = b"\x1f\x8b"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
REMEDY = gettext_noop(
    "Give CSV or JSON lines with the columns of Azure, BurstGPT, Mooncake, or timestamp_s, input_tokens and output_tokens."
)


@dataclass(frozen=True, slots=True)
class Form:
    """Columns of a kind of trace: of the time, the prompt's tokens and the answer's."""

    name: str
    time: str
    prompt: str
    answer: str
    is_in_ms: bool = False
    has_failures: bool = False
    """Whether a request without an answer is one that failed."""


FORMS = (
    Form("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    Form("BurstGPT", "Timestamp", "Request tokens", "Response tokens", has_failures=True),
    Form("Mooncake", "timestamp", "input_length", "output_length", is_in_ms=True),
    Form("workbench", "timestamp_s", "input_tokens", "output_tokens"),
)


FORM_COLUMNS = tuple(dict.fromkeys(name for f in FORMS for name in (f.time, f.prompt, f.answer)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Requests of a file in the order of their times, of which the first is 0."""

    form: str
    arrivals: Sequence[Arrival]
    lines: Sequence[int]
    """Where each request stands in the file."""
    notes: Sequence[str]
    """Whole sentences: what had to be settled to read the file."""

    @property
    def has_hash_ids(self) -> bool:
        """Return whether any request says which blocks its prompt is made of."""
        return any(a.hash_ids for a in self.arrivals)

    @property
    def busiest_per_s(self) -> float:
        """Return the mean request rate of the busiest minute, or of the whole of a shorter trace."""
        times = [a.at_s for a in self.arrivals]
        window = min(60.0, times[-1])
        if window <= 0:
            return float(len(times))
        most, first = 0, 0
        for last, at in enumerate(times):
            while times[first] <= at - window:
                first += 1
            most = max(most, last - first + 1)
        return most / window

    @property
    def mean_tokens(self) -> tuple[float, float]:
        """Return the mean tokens of prompts and answers."""
        n = len(self.arrivals)
        return sum(a.input_tokens for a in self.arrivals) / n, sum(a.output_tokens for a in self.arrivals) / n


Line: TypeAlias = tuple[int, Mapping[str, Json]]


def read_lengths(path: Path) -> list[tuple[int, int]]:
    """Return the tokens of prompts and answers of a file in any form of a trace, which need not have times.

    Raises:
        InvalidSpec: The file or one of its lines cannot be read; the line and the column are named.
    """
    lines = _lines(path)
    if not any(form.time in lines[0][1] for form in FORMS):
        form = next((f for f in FORMS if f.prompt in lines[0][1] and f.answer in lines[0][1]), None)
        lines = [(n, {**row, form.time: n}) for n, row in lines] if form else lines
    return [(a.input_tokens, a.output_tokens) for a in _Reading(path, lines).trace(1.0).arrivals]


def read_trace(path: Path, *, speed: float = 1.0) -> Trace:
    """Return the requests of a trace file.

    Times without a time zone are UTC. Requests of BurstGPT without an answer, which failed, are left out.

    Args:
        path: The file; its form is recognised by its columns.
        speed: Divides the times between requests.

    Raises:
        InvalidSpec: The file or one of its lines cannot be read; the line and the column are named.
    """
    return _Reading(path, _lines(path)).trace(speed)


def _lines(path: Path) -> list[Line]:
    """Return the rows of a file with where they stand; raises ``InvalidSpec`` for a file without any."""
    try:
        data = path.expanduser().read_bytes()
        text = (gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise _refusal(path, system_message(error)) from error
    if not text.strip():
        raise _refusal(path, gettext("it is empty"))
    lines = list(_json_lines(path, text) if text.lstrip()[0] in "{[" else _csv_lines(path, text))
    if not lines:
        raise _refusal(path, gettext("it has no requests"))
    return lines


def _refusal(path: Path, reason: str) -> InvalidSpec:
    return InvalidSpec(
        gettext("The trace {file} cannot be read: {reason}.").format(file=path, reason=reason), remedy=gettext(REMEDY)
    )


def _csv_lines(path: Path, text: str) -> Iterator[Line]:
    first, _, _ = text.lstrip().partition("\n")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(DELIMITERS, key=first.count))
    try:
        head = [name.strip() for name in next(cells for cells in reader if any(c.strip() for c in cells))]
        if twice := [name for name in FORM_COLUMNS if head.count(name) > 1]:
            raise _refusal(path, gettext("it has column {column} twice").format(column=twice[0]))
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if len(cells) != len(head):
                raise _refusal(
                    path,
                    gettext("line {line} has {n} columns, and the first line {first}").format(
                        line=reader.line_num, n=len(cells), first=len(head)
                    ),
                )
            yield reader.line_num, dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise _refusal(path, gettext("line {line}: {reason}").format(line=reader.line_num, reason=error)) from error


def _json_lines(path: Path, text: str) -> Iterator[Line]:
    """Yield the objects of JSON lines by line, or those of one list by their number."""
    values: Iterable[tuple[int, object]]
    if text.lstrip().startswith("["):
        whole = _decoded(path, 1, text)
        values = enumerate(whole if isinstance(whole, list) else (), 1)
    else:
        values = ((n, _decoded(path, n, line)) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, value in values:
        if not isinstance(value, dict):
            raise _refusal(path, gettext("line {line} is no JSON object").format(line=number))
        yield number, value


def _decoded(path: Path, number: int, text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(
            path, gettext("line {line} is no JSON: {error}").format(line=number, error=system_message(error))
        ) from error
    return value


class _Reading:
    """A file's lines on their way to a trace."""

    def __init__(self, path: Path, lines: Sequence[Line]) -> None:
        self.path, self.lines = path, lines
        self.form = self._form(lines[0][1])
        self.notes: list[str] = []
        self._names: dict[str, int] = {}
        self._last: dict[
            str, tuple[float, int, tuple[int, ...]]
        ] = {}  # of each session: time, context, ids of the last turn

    def trace(self, speed: float) -> Trace:
        """Return the trace that the lines are."""
        form = self.form
        rows, n_failed, are_dates, later = [], 0, set(), set[int]()
        for number, row in self.lines:
            prompt = self._tokens(number, row, form.prompt)
            answer = self._tokens(number, row, form.answer, least=0 if form.has_failures else 1)
            if not answer:
                n_failed += 1
                continue
            at, is_date = self._time(number, row)
            are_dates.add(is_date)
            ids = self._ids(number, row)
            session = str(row.get("session_id", ""))
            if row.get(form.time) is None:
                _, before, ids_before = self._last[session]
                prompt, ids = before + prompt, ids_before + ids
                later.add(number)
            if session:
                self._last[session] = at, prompt + answer, ids
            rows.append((at, number, prompt, answer, ids))
        if not rows:
            raise _refusal(self.path, gettext("it has no requests with an answer"))
        if len(are_dates) > 1:
            raise _refusal(self.path, gettext("column {column} has dates and numbers").format(column=form.time))
        if n_failed:
            self.notes.append(f"{n_failed:,} requests without an answer, which failed, are left out.")
        per_s = 1e6 if are_dates == {True} else self._units_per_s([r[0] for r in rows], any(r[4] for r in rows))
        if any(a[0] > b[0] for a, b in pairwise(rows)):
            self.notes.append("The file was not in the order of time and has been sorted.")
            rows.sort(key=lambda r: r[0])
        block = self._block_tokens([(r[1], r[2], len(r[4])) for r in rows if r[4] and r[1] not in later])
        first = rows[0][0]
        return Trace(
            form=form.name,
            arrivals=[
                Arrival((r[0] - first) / per_s / speed, r[2], r[3], r[4][: ceil(r[2] / block)], block) for r in rows
            ],
            lines=[r[1] for r in rows],
            notes=self.notes,
        )

    def _form(self, row: Mapping[str, Json]) -> Form:
        for form in FORMS:
            if form.prompt in row and form.answer in row and (form.time in row or "delay" in row):
                return form
        if "prompt" in row or "text_input" in row or "conversations" in row:
            raise _refusal(self.path, gettext("it holds texts, and neither times nor lengths"))
        nearest = max(FORMS, key=lambda f: sum(name in row for name in (f.time, f.prompt, f.answer)))
        missing = [name for name in (nearest.time, nearest.prompt, nearest.answer) if name not in row]
        if len(missing) < 3:
            raise _refusal(
                self.path, gettext("it has no column {names}").format(names=gettext(" and no ").join(missing))
            )
        raise _refusal(self.path, gettext("its columns are {names}").format(names=", ".join(map(str, list(row)[:8]))))

    def _wrong(self, number: int, column: str, value: Json, what: str) -> InvalidSpec:
        shown = (
            gettext("nothing stands there")
            if value is None or value == ""
            else gettext("{value} is {what}").format(value=repr(str(value)[:40]), what=what)
        )
        return _refusal(
            self.path,
            gettext("line {line}, column {column}: {reason}").format(line=number, column=column, reason=shown),
        )

    def _tokens(self, number: int, row: Mapping[str, Json], column: str, *, least: int = 1) -> int:
        value = row.get(column)
        n = _number(value)
        if n is None or n != int(n):
            raise self._wrong(number, column, value, gettext("no whole number of tokens"))
        if not least <= n <= MOST_TOKENS:
            raise self._wrong(
                number,
                column,
                value,
                gettext("no number of tokens from {least} to {most}").format(least=least, most=f"{MOST_TOKENS:,}"),
            )
        return int(n)

    def _time(self, number: int, row: Mapping[str, Json]) -> tuple[float, bool]:
        """Return the time in the file's unit, or a date in microseconds, and whether it is a date.

        A turn of a session with a ``delay`` (AIPerf, in milliseconds) comes so long after the one before it; its length is what it adds.
        """
        column, session = self.form.time, str(row.get("session_id", ""))
        value = row.get(column)
        at, is_date = _number(value), False
        if value is None and session in self._last and (delay := _number(row.get("delay"))) is not None:
            at = self._last[session][0] + delay
            note = "Later turns of a session add to its context, and come their delay after the one before, whose answer takes no time."
            self.notes += [note] if note not in self.notes else []
        elif at is None and isinstance(value, str):
            try:
                moment = datetime.fromisoformat(value.strip())
                is_date = True
                at = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - EPOCH) / timedelta(microseconds=1)
            except (ValueError, OverflowError):
                at = None
        if at is None:
            raise self._wrong(number, column, value, gettext("no time"))
        return at, is_date

    def _ids(self, number: int, row: Mapping[str, Json]) -> tuple[int, ...]:
        value = row.get("hash_ids")
        if value is None or value == "":
            return ()
        if isinstance(value, str) and value.startswith("["):
            value = _decoded(self.path, number, value)
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int | str) for v in value):
            raise self._wrong(
                number, "hash_ids", value if isinstance(value, str) else json.dumps(value), gettext("no list of ids")
            )
        return tuple(v if isinstance(v, int) else self._names.setdefault(str(v), -1 - len(self._names)) for v in value)

    def _units_per_s(self, times: Sequence[float], has_ids: bool) -> float:
        """Return how many units of the times are a second: times since 1970 show it by their size."""
        least = min(times)
        for limit, per_s in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3), (1e9, 1.0)):
            if least >= limit:
                return per_s
        if not self.form.is_in_ms:
            return 1.0
        is_bailian = "chat_id" in self.lines[0][1]
        if is_bailian or (not has_ids and any(t != int(t) for t in times)):
            self.notes.append("Times are taken for seconds, as guidellm's and Bailian's are.")
            return 1.0
        self.notes.append("Times are taken for milliseconds, as Mooncake's and AIPerf's are.")
        return 1e3

    def _block_tokens(self, rows: Sequence[tuple[int, int, int]]) -> int:
        """Return the tokens that a hash id stands for: those with which most prompts have as many ids as blocks."""
        fits = [all(n <= ceil(prompt / size) for _, prompt, n in rows) for size in BLOCK_SIZES]
        exact = [sum(n == ceil(p / size) or n == p // size for _, p, n in rows) for size in BLOCK_SIZES]
        if not rows or not any(fits):
            if rows:
                number, prompt, n = next(r for r in rows if r[2] > ceil(r[1] / min(BLOCK_SIZES)))
                raise _refusal(
                    self.path,
                    gettext("line {line}, column hash_ids: {n} blocks for {tokens} tokens").format(
                        line=number, n=n, tokens=prompt
                    ),
                )
            return BLOCK_SIZES[0]
        best = max((i for i, fit in enumerate(fits) if fit), key=lambda i: exact[i])
        if BLOCK_SIZES[best] != BLOCK_SIZES[0]:
            self.notes.append(f"Each hash id is taken for a block of {BLOCK_SIZES[best]} tokens.")
        return BLOCK_SIZES[best]


def _number(value: Json) -> float | None:
    """Return a finite number, or None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None
