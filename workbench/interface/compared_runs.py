"""Runs of one kind side by side: what they have measured alike, and in what they differ."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from workbench.core.language import gettext, gettext_noop
from workbench.core.rows import Json, flat
from workbench.core.runs import Run
from workbench.core.statistics import Interval, paired_ratio, ratio_with_interval
from workbench.core.units import three_digits
from workbench.interface.html import joined, message_card, note, paragraph, table

SMALLEST_CHANGE = 0.01
"""Relative differences below this are left out."""
MOST_LINES = 60
LIMITS = (".low", ".high")
COUNTS = ("n_", "seed")
FEWEST_PAIRS = 8
PAIRS_HEAD = (
    gettext_noop("Pairs of"),
    gettext_noop("pairs"),
    gettext_noop("mean of the first"),
    gettext_noop("mean of the last"),
    gettext_noop("ratio of the means"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One quantity of one row, in each of the runs."""

    row: str
    quantity: str
    values: tuple[str, ...]
    change: str


def side_by_side(runs: Sequence[Run], labels: Sequence[str]) -> Markup:
    """Return the runs' differences in what was asked and where, and each quantity that differs by more than 1 %.

    The first run is the base of all changes.
    """
    differences = _differences(runs)
    parts = []
    if differences:
        subject = ", ".join(name for name, _ in differences)
        cause = gettext("They differ in {subject}: a change below may come from any of these.").format(subject=subject)
        parts.append(message_card("caution", gettext("These runs did not measure the same."), cause, ""))
        parts.append(
            table(
                (gettext("What differs"), *labels), [(name, *values) for name, values in differences], left=range(1, 9)
            )
        )
    pairs = list(_pairs(runs[0], runs[-1]))
    if pairs:
        head = tuple(gettext(t) for t in PAIRS_HEAD)
        shared = gettext(
            "The same texts, questions or requests in both runs, last against first: what they share does not widen the interval."
        )
        parts += [table(head, pairs, left=(1,)), note(shared)]
    changes = list(_changes(runs))
    if not changes:
        return joined(*parts, paragraph(gettext("No row that the runs have in common differs by more than 1 %.")))
    cells = [(c.row, c.quantity, *c.values, c.change) for c in changes[:MOST_LINES]]
    shown = table((gettext("Row"), gettext("Quantity"), *labels, gettext("Change")), cells, left=(1,))
    about = [
        gettext(
            "Change: last run against the first, with the interval of the ratio where both have one; no difference is shown where it holds 1."
        )
    ]
    if len(changes) > MOST_LINES:
        about.append(gettext("{n} further differences are left out.").format(n=len(changes) - MOST_LINES))
    return joined(*parts, shown, note(" ".join(about)))


def _differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Choices, machines and versions that are not the same in all runs, by name."""
    about = [
        {name.replace("_", " "): value for name, value in flat(dict(run.spec)).items()}
        | {name.replace("_", " "): str(v) for name, v in run.spec.items() if isinstance(v, list)}
        | {"device": run.environment.device, "cpu": run.environment.cpu}
        | {f"version of {name}": version for name, version in run.environment.packages.items()}
        for run in runs
    ]
    names = dict.fromkeys(name for each in about for name in each)
    return [
        (name, [str(each.get(name, "–")) for each in about])
        for name in names
        if len({str(each.get(name)) for each in about}) > 1
    ]


def _changes(runs: Sequence[Run]) -> list[Change]:
    found: list[Change] = []
    for kind in dict.fromkeys(type(row) for row in runs[0].results):
        tables = [[flat(row) for row in run.results if type(row) is kind] for run in runs]
        keys = _keys(tables[0])
        by_key = [{tuple(row.get(k) for k in keys): row for row in rows} for rows in tables]
        for key, first in by_key[0].items():
            others = [rows[key] for rows in by_key[1:] if key in rows]
            if len(others) == len(runs) - 1:
                found += _row_changes(" · ".join(str(k) for k in key if k is not None), [first, *others], set(keys))
    return found


def _keys(rows: Sequence[Mapping[str, Json]]) -> list[str]:
    """The columns that tell rows apart: texts first, then whole numbers, and only as many as are needed."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def kind(name: str) -> int | None:
        values = [row.get(name) for row in rows if row.get(name) is not None]
        if name.rsplit(".", maxsplit=1)[-1].startswith(COUNTS) or not values:
            return None
        if all(isinstance(v, str) for v in values):
            return 0
        return 1 if all(isinstance(v, int) for v in values) else None

    kept: list[str] = []
    for name in sorted((n for n in names if kind(n) is not None), key=lambda n: kind(n) or 0):
        groups = Counter(tuple(row.get(k) for k in kept) for row in rows)
        if max(groups.values(), default=1) == 1 and kept:
            break
        if len(Counter(tuple(row.get(k) for k in (*kept, name)) for row in rows)) > len(groups):
            kept.append(name)
    return kept


def _row_changes(title: str, rows: Sequence[Mapping[str, Json]], keys: set[str]) -> list[Change]:
    found = []
    for name, value in rows[0].items():
        values = [row.get(name) for row in rows]
        if name in keys or name.endswith(LIMITS) or isinstance(value, bool):
            continue
        numbers = [v for v in values if isinstance(v, int | float)]
        if len(numbers) != len(rows) or max(numbers) - min(numbers) <= SMALLEST_CHANGE * max(map(abs, numbers)):
            continue
        base = name.removesuffix(".value")
        spans = [_span(row, base) for row in rows]
        shown = tuple(
            three_digits(n) + (f" [{three_digits(s[0])}, {three_digits(s[1])}]" if s else "")
            for n, s in zip(numbers, spans, strict=True)
        )
        found.append(Change(row=title, quantity=base.replace("_", " "), values=shown, change=_change(numbers, spans)))
    return found


def _span(row: Mapping[str, Json], base: str) -> tuple[float, float] | None:
    low, high = (row.get(base + limit) for limit in LIMITS)
    return (float(low), float(high)) if isinstance(low, int | float) and isinstance(high, int | float) else None


def _change(numbers: Sequence[float], spans: Sequence[tuple[float, float] | None]) -> str:
    first, last = spans[0], spans[-1]
    if first and last:
        ends = (Interval(numbers[-1], *last), Interval(numbers[0], *first))
        if (ratio := ratio_with_interval(*ends)) is not None:
            return _shown_ratio(ratio)
        if first[0] <= last[1] and last[0] <= first[1]:
            return gettext("no difference shown")
    return f"{numbers[-1] / numbers[0]:.3g}x" if numbers[0] else gettext("from zero")


def _shown_ratio(ratio: Interval) -> str:
    if ratio.low <= 1 <= ratio.high:
        return gettext("no difference shown")
    return f"{ratio.value:.3g}x [{ratio.low:.3g}, {ratio.high:.3g}]"


def _pairs(first: Run, last: Run) -> Iterator[tuple[str, str, str, str, str]]:
    """Series that both runs hold of one spec: quantity, number of pairs, both means, and the ratio of the means."""
    if first.spec != last.spec or first.samples is None or last.samples is None:
        return
    before, after = first.samples.in_order(), last.samples.in_order()
    for quantity in before:
        a, b = (np.array(series.get(quantity, ()), dtype=float) for series in (before, after))
        if a.size != b.size:
            continue
        known = np.isfinite(a) & np.isfinite(b)
        a, b = a[known], b[known]
        if a.size < FEWEST_PAIRS or a.min() < 0 or b.min() < 0 or a.mean() == 0 or np.array_equal(a, b):
            continue
        yield quantity, str(a.size), three_digits(a.mean()), three_digits(b.mean()), _shown_ratio(paired_ratio(b, a))
