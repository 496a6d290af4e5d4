"""HTML tables and cards; every text from outside is escaped."""

from collections.abc import Collection, Iterable, Sequence
from html import escape
from math import floor, log10

from workbench.core.provenance import Provenance
from workbench.core.quantization import METHODS, VariantResult
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits

MEASURED, ESTIMATED = Provenance.MEASURED.mark, Provenance.ESTIMATED.mark
LEAST_S = 1e-4  # nothing is quantized in less time
NEGLIGIBLE = 1e-5  # below this a difference is shown as such, not with digits
LEGEND = " · ".join(f"{p.mark} {p.value}" for p in Provenance)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, highlighted: int | None = None, left: Collection[int] = ()
) -> str:
    """A table whose cells are HTML already; a row of two cells spans its second over the rest.

    Args:
        head: Column titles.
        rows: Cells by row; the first is the row's title.
        highlighted: Row to tint.
        left: Columns that hold text and are aligned at the left.
    """
    sides = ["l" if i in left else "r" for i in range(len(head))]
    body = []
    for index, row in enumerate(rows):
        kind = " class='best'" if index == highlighted else ""
        if len(row) == 2 and len(head) > 2:
            cells = f"<th scope='row'>{row[0]}</th><td class='l' colspan='{len(head) - 1}'>{row[1]}</td>"
        else:
            pairs = zip(row[1:], sides[1:], strict=True)
            cells = f"<th scope='row'>{row[0]}</th>" + "".join(
                f"<td class='{side}'>{cell}</td>" for cell, side in pairs
            )
        body.append(f"<tr{kind}>{cells}</tr>")
    header = "".join(f"<th scope='col' class='{side}'>{h}</th>" for h, side in zip(head, sides, strict=True))
    rows_html = "".join(body)
    return (
        f"<div class='wb-scroll'><table class='wb-table'><thead><tr>{header}</tr></thead>"
        f"<tbody>{rows_html}</tbody></table></div>"
    )


def with_interval(value: Interval | None, factor: float = 1.0, unit: str = "", *, sign: bool = False) -> str:
    """A value with half its 95 % interval, both to the digits that the interval supports."""
    if value is None:
        return "–"
    shown, half = value.value * factor, value.half_width * factor
    plus = "+" if sign and shown > 0 else ""
    if abs(shown) + half < NEGLIGIBLE:
        return f"0{unit}" if shown == half == 0 else f"&lt; {NEGLIGIBLE:.0e}{unit}"
    exponent = floor(log10(max(abs(shown), half)))
    if exponent < -3:
        scale = 10.0**exponent
        text = f"{plus}{shown / scale:.2f} <small>± {half / scale:.2f}</small> e{exponent}"
    else:
        decimals = max(0, 1 - floor(log10(half))) if half else 2
        text = f"{plus}{shown:.{decimals}f} <small>± {half:.{decimals}f}</small>"
    low, high = three_digits(value.low * factor), three_digits(value.high * factor)
    return f"<span title='95 % interval {low} to {high}'>{text}{unit}</span>"


def quantization_table(
    results: Sequence[VariantResult], *, batch: int, best: str | None, usd_per_million: dict[str, float]
) -> str:
    """One row per method with provenance marks; what did not run says why.

    Args:
        results: Results of one run.
        batch: Batch size whose times are shown.
        best: Method whose row is tinted.
        usd_per_million: Price of a million output tokens by method.
    """
    head = (
        f"Method {MEASURED}",
        "KL, nat/token",
        "p99 KL",
        "same top-1",
        "Δ perplexity",
        "weights",
        "peak memory",
        "made in",
        f"step at batch {batch}, p50 / p99",
        "prefill, tok/s",
        f"USD / M tokens {ESTIMATED}",
    )
    rows: list[tuple[str, ...]] = []
    highlighted = None
    for r in results:
        method = METHODS[r.method]
        label = f"<span title='{escape(method.note)}'>{escape(method.label)}</span>"
        if r.status != "measured":
            rows.append((label, f"{r.status}: {escape(r.reason or '')}"))
            continue
        if r.method == best:
            highlighted = len(rows)
        time = r.decode_at(batch)
        eager = (
            " <small title='PyTorch without compilation: its real kernels can be faster'>eager</small>"
            if r.execution == "eager"
            else ""
        )
        alone = "" if r.interleaved else " <small title='not measured in turns with the others'>alone</small>"
        rows.append(
            (
                label + eager + alone,
                with_interval(r.mean_kl_nat_per_token),
                with_interval(r.p99_kl_nat_per_token),
                with_interval(r.top1_agreement_fraction, 100, " %"),
                with_interval(r.perplexity_change_fraction, 100, " %", sign=True),
                shown_bytes(r.weight_bytes or 0),
                shown_bytes(r.peak_memory_bytes or 0),
                shown_duration(r.quantize_s) if r.quantize_s and r.quantize_s > LEAST_S else "–",
                f"{shown_duration(time.p50_s)} / {shown_duration(time.p99_s)}" if time else "–",
                three_digits(r.prefill_tokens_per_s or 0),
                shown_usd(usd_per_million[r.method]) if r.method in usd_per_million else "–",
            )
        )
    return table(head, rows, highlighted=highlighted)


def verdict_card(headline: str, evidence: str, objection: str, *, is_stale: bool) -> str:
    """The answer first, then what it stands on, then what speaks against it; dimmed when it is stale."""
    kind = "wb-verdict stale" if is_stale else "wb-verdict"
    return (
        f"<div class='{kind}' role='status'><p class='headline'>{escape(headline)}</p>"
        f"<p>{MEASURED} {escape(evidence)}</p><p>Against it: {escape(objection)}</p></div>"
    )


def message_card(kind: str, title: str, cause: str, remedy: str, details: str = "") -> str:
    """A state that needs words: what happened, what to do, folded details. ``kind``: info, caution or failure."""
    folded = f"<details><summary>Details</summary><pre>{escape(details)}</pre></details>" if details else ""
    return f"<div class='wb-message {kind}' role='alert'><b>{escape(title)}</b> {escape(cause)} <i>{escape(remedy)}</i>{folded}</div>"
