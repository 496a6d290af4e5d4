"""HTML tables and cards; every text from outside is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

from workbench.core.provenance import Provenance
from workbench.core.quantization import METHODS, VariantResult
from workbench.core.statistics import Interval
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits

MEASURED, ESTIMATED = Provenance.MEASURED.mark, Provenance.ESTIMATED.mark
LEGEND = " · ".join(f"{p.mark} {p.value}" for p in Provenance)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, highlighted: int | None = None) -> str:
    """A table whose cells are HTML already; a row of two cells spans its second over the rest."""
    body = []
    for index, row in enumerate(rows):
        kind = " class='best'" if index == highlighted else ""
        if len(row) == 2 and len(head) > 2:
            cells = f"<th scope='row'>{row[0]}</th><td class='reason' colspan='{len(head) - 1}'>{row[1]}</td>"
        else:
            cells = f"<th scope='row'>{row[0]}</th>" + "".join(f"<td>{cell}</td>" for cell in row[1:])
        body.append(f"<tr{kind}>{cells}</tr>")
    header = "".join(f"<th scope='col'>{h}</th>" for h in head)
    return f"<div class='wb-scroll'><table class='wb-table'><thead><tr>{header}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"


def with_interval(value: Interval | None, factor: float = 1.0, unit: str = "", *, sign: bool = False) -> str:
    """A value with half its interval's length."""
    if value is None:
        return "–"
    plus = "+" if sign and value.value > 0 else ""
    if value.value == 0 and value.half_width == 0:
        return f"0{unit}"
    return (
        f"<span title='95 % interval {three_digits(value.low * factor)} to {three_digits(value.high * factor)}'>"
        f"{plus}{three_digits(value.value * factor)} <small>± {three_digits(value.half_width * factor)}</small>{unit}</span>"
    )


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
                shown_duration(r.quantize_s) if r.quantize_s else "–",
                f"{shown_duration(time.p50_s)} / {shown_duration(time.p99_s)}" if time else "–",
                three_digits(r.prefill_tokens_per_s or 0),
                shown_usd(usd_per_million[r.method]) if r.method in usd_per_million else "–",
            )
        )
    return table(head, rows, highlighted=highlighted)


def verdict_card(headline: str, evidence: str, objection: str) -> str:
    """The answer first, then what it stands on, then what speaks against it."""
    return (
        f"<div class='wb-verdict' role='status'><p class='headline'>{escape(headline)}</p>"
        f"<p>{MEASURED} {escape(evidence)}</p><p>Against it: {escape(objection)}</p></div>"
    )


def message_card(kind: str, title: str, cause: str, remedy: str, details: str = "") -> str:
    """A state that needs words: what happened, what to do, folded details. ``kind``: info, caution or failure."""
    folded = f"<details><summary>Details</summary><pre>{escape(details)}</pre></details>" if details else ""
    return f"<div class='wb-message {kind}' role='alert'><b>{escape(title)}</b> {escape(cause)} <i>{escape(remedy)}</i>{folded}</div>"
