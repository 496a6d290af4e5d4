"""HTML of the whole product: the only place that writes tags. A ``str`` is text and is always escaped; only ``Markup`` is HTML."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from workbench.core.columns import Columns, cells_of
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.statistics import Interval
from workbench.core.units import three_digits
from workbench.core.verdict import Verdict
from workbench.interface.numbers import interval_text

T = TypeVar("T")
Text = str
"""Text, or ``Markup`` made here: ``Markup`` is a ``str`` that knows that it is HTML."""
EMPTY = Markup("")
LONG_TITLE = 40
"""Characters from which the titles of a table's rows are wrapped, so that the other columns have room beside them."""
LEGEND = " · ".join(f"{p.mark} {p.shown}" for p in Provenance)


IN_BACKTICKS = re.compile(r"`([^`\n]+)`")
"""A command or an option within a sentence."""


def prose(text: Text) -> Markup:
    """Return a sentence with what stands in backticks in a fixed-width face."""
    if isinstance(text, Markup):
        return text
    return joined(*(code(part) if i % 2 else part for i, part in enumerate(IN_BACKTICKS.split(text))))


def joined(*parts: Text) -> Markup:
    """Return the parts one after another."""
    return Markup("").join(parts)


def heading(text: Text, *, level: int = 2) -> Markup:
    """Return a heading of the second level."""
    return Markup("<h{0}>{1}</h{0}>").format(level, text)


def subtitle(text: Text) -> Markup:
    """Return the line below a panel's title."""
    return Markup("<p class='sub'>{}</p>").format(text)


def paragraph(*parts: Text) -> Markup:
    """Return the parts as one paragraph."""
    return Markup("<p>{}</p>").format(joined(*map(prose, parts)))


def note(*parts: Text) -> Markup:
    """Return a paragraph in small type."""
    return Markup("<p class='wb-legend'>{}</p>").format(joined(*parts))


def small(text: Text, *, title: str | None = None) -> Markup:
    """Return text in small type, with an explanation that shows when one points at it."""
    hover = "" if title is None else Markup(" title='{}'").format(title)
    return Markup("<small{}>{}</small>").format(hover, text)


def hint(text: Text, *, title: str) -> Markup:
    """Return text with an explanation that shows when one points at it."""
    return Markup("<span title='{}'>{}</span>").format(title, text)


def wide(text: Text) -> Markup:
    """Return text for a cell that needs more room than others."""
    return Markup("<span class='wide'>{}</span>").format(text)


def bold(text: Text) -> Markup:
    """Return text in bold type."""
    return Markup("<b>{}</b>").format(text)


def code(text: Text) -> Markup:
    """Return text in a fixed-width face."""
    return Markup("<code>{}</code>").format(text)


def marked(text: Text) -> Markup:
    """Return text that stands out, as with a marker pen."""
    return Markup("<mark>{}</mark>").format(text)


def lines(items: Iterable[Text]) -> Markup:
    """Return each item on a line of its own."""
    return Markup("<br>").join(items)


def folded(summary: Text, *parts: Text) -> Markup:
    """Return parts that open with a click on their summary."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, joined(*parts))


def code_block(text: str) -> Markup:
    """Return text in a block that can be copied."""
    return Markup("<pre class='wb-code'>{}</pre>").format(text)


def block(*parts: Text, kind: str = "wb") -> Markup:
    """Return parts in a box with a class of the style sheet."""
    return Markup("<div class='{}'>{}</div>").format(kind, joined(*parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A link to a notebook with what is known of its question."""

    title: str
    text: str
    note: str = ""
    mark: str = ""
    """What sets this card apart, such as that its answer was measured here."""
    address: str | None = None
    """None: a card that leads nowhere is dashed."""
    lab_path: str | None = None
    """Path of the notebook as JupyterLab's server names it: a click opens a tab there. Without one a browser tab is opened."""


def cards(items: Iterable[Card]) -> Markup:
    """Return cards in a grid; in JupyterLab a click on one opens a tab without leaving the page."""
    return block(*map(_card, items), kind="wb-map")


def _card(card: Card) -> Markup:
    mark = Markup(" <span class='mark'>{}</span>").format(card.mark) if card.mark else EMPTY
    note = Markup("<span class='note'>{}</span>").format(card.note) if card.note else EMPTY
    inside = Markup("<b>{}{}</b><span>{}</span>{}").format(card.title, mark, card.text, note)
    if card.address is None:
        return Markup("<span class='card'>{}</span>").format(inside)
    return joined(_anchor(card.address, card.lab_path), inside, Markup("</a>"))


def link(text: Text, address: str, lab_path: str | None = None) -> Markup:
    """Return a link; in JupyterLab it opens a tab without leaving the page."""
    return joined(_anchor(address, lab_path), text, Markup("</a>"))


def _anchor(address: str, lab_path: str | None) -> Markup:
    if address.endswith(".html"):
        return Markup("<a href='{}'>").format(address)
    if lab_path is None:
        return Markup("<a href='{}' target='_blank' rel='noopener'>").format(address)
    return Markup("<a href='{}' data-commandlinker-command='docmanager:open' data-commandlinker-args='{}'>").format(
        address, json.dumps({"path": lab_path})
    )


def table(
    head: Collection[Text],
    rows: Iterable[Sequence[Text]],
    *,
    highlighted: int | None = None,
    left: Collection[int] = (),
) -> Markup:
    """Return a table; a row of two cells spans its second over the rest.

    Args:
        head: Column titles, with units.
        rows: Cells by row; the first is the row's title.
        highlighted: Row to tint.
        left: Columns that hold text and are aligned at the left.
    """
    sides = ["l" if i in left else "r" for i in range(len(head))]
    rows = list(rows)
    size = Markup(" class='long'") if any(len(row[0]) > LONG_TITLE for row in rows) else ""
    body = []
    for index, row in enumerate(rows):
        first = Markup("<th scope='row'{}>{}</th>").format(size, row[0])
        if len(row) == 2 and len(head) > 2:
            cells = Markup("<td class='l' colspan='{}'>{}</td>").format(len(head) - 1, row[1])
        else:
            pairs = zip(row[1:], sides[1:], strict=True)
            cells = joined(*(Markup("<td class='{}'>{}</td>").format(side, cell) for cell, side in pairs))
        kind = Markup(" class='best'") if index == highlighted else ""
        body.append(Markup("<tr{}>{}{}</tr>").format(kind, first, cells))
    titles = [Markup("<th scope='col' class='{}'>{}</th>").format(s, h) for h, s in zip(head, sides, strict=True)]
    return Markup(
        "<div class='wb-scroll' tabindex='0'><table class='wb-table'><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(joined(*titles), joined(*body))


def table_of(
    columns: Columns[T], rows: Iterable[T], *, highlighted: int | None = None, left: Collection[int] = ()
) -> Markup:
    """Return a table of what each column shows of each row, with what else ``table`` takes."""
    return table(columns, cells_of(columns, rows), highlighted=highlighted, left=left)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """A cell of a heat map; a report finds it by its name."""

    name: str
    text: str
    hint: str
    """Shown when one points at it."""
    darkness: float
    """From 0 to 1."""


def heat_map(
    title: Text, legend: Text, head: Sequence[Text], rows: Iterable[tuple[Text, Sequence[HeatCell | None]]]
) -> Markup:
    """Return a table whose cells are coloured; a row is its title and its cells, None where there is nothing."""
    filled = Markup("<td data-group='{}' title='{}' style='background:rgba(230,159,0,{})'>{}</td>")

    def cell(c: HeatCell | None) -> Markup:
        return Markup("<td>–</td>") if c is None else filled.format(c.name, c.hint, f"{c.darkness:.2f}", c.text)

    line = Markup("<tr><th scope='row'>{}</th>{}</tr>")
    lines = [line.format(name, joined(*map(cell, cells))) for name, cells in rows]
    titles = joined(*(Markup("<th scope='col'>{}</th>").format(h) for h in head))
    return Markup(
        "<div class='wb-heat'><p><b>{}</b><br><small>{}</small></p><div class='wb-scroll' tabindex='0'><table><thead><tr>{}</tr></thead>"
        "<tbody>{}</tbody></table></div></div>"
    ).format(title, legend, titles, joined(*lines))


def with_interval(value: Interval | None, factor: float = 1.0, unit: str = "", *, sign: bool = False) -> Text:
    """Return a value with half its 95 % interval, both to the digits that the interval supports."""
    if value is None:
        return "–"
    shown, half, tail = interval_text(value, factor, sign=sign)
    low, high = three_digits(value.low * factor), three_digits(value.high * factor)
    content = joined(shown, small(f" ± {half}"), tail, unit) if half else joined(shown, unit)
    return hint(content, title=gettext("95 % interval {low} to {high}").format(low=low, high=high))


def verdict_card(verdict: Verdict, *, is_stale: bool = False) -> Markup:
    """Return the answer first, then what it stands on, then what speaks against it; its colour follows the answer, and it is dimmed when it is stale."""
    headline, evidence, *more = verdict.lines
    kind = f"{verdict.answer}{' stale' if is_stale else ''}"
    rest = joined(*(paragraph(line) for line in (evidence, *more)))
    return Markup("<div class='wb-verdict {}' role='status'><p class='headline'>{}</p>{}</div>").format(
        kind, prose(headline), rest
    )


def message_card(kind: str, title: str, cause: str, remedy: str, details: str = "") -> Markup:
    """Return a state that needs words: what happened, what to do, folded details. ``kind``: info, caution or failure."""
    more = folded(gettext("Details"), Markup("<pre>{}</pre>").format(details)) if details else ""
    return Markup("<div class='wb-message {}' role='alert'><b>{}</b> {} <i>{}</i>{}</div>").format(
        kind, title, prose(cause), prose(remedy), more
    )
