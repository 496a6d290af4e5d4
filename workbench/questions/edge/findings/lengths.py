"""What a run shows of inputs of different lengths: the rows of its table, and in sentences what dynamic padding gains."""

from collections.abc import Sequence

from workbench.core.language import gettext
from workbench.core.stored_texts import translated
from workbench.core.units import MIB, shown_duration
from workbench.core.verdict import Answer, Verdict
from workbench.measuring.interleaved import SpeedVerdict, shown_verdict
from workbench.questions.edge.findings import MARK, energy_mark, ratio_words
from workbench.questions.edge.rows import LengthsResult, Padding

LENGTHS_HEAD = (
    gettext("Padding {mark}").format(mark=MARK),
    gettext("batch size"),
    gettext("tokens processed"),
    gettext("time for one input"),
    gettext("speed-up over static padding"),
    gettext("verdict"),
    gettext("memory"),
    gettext("memory, median batch alone"),
    gettext("energy of 1,000 inputs"),
    gettext("largest difference"),
)
PADDINGS: dict[Padding, str] = {
    "static": gettext("static: to the longest of all inputs"),
    "dynamic": gettext("dynamic: to the longest of the batch"),
    "sorted": gettext("dynamic, after sorting by length"),
}


def lengths_rows(rows: Sequence[LengthsResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``LENGTHS_HEAD`` for each padding and batch size."""
    return [
        (
            PADDINGS[r.padding],
            str(r.batch),
            f"{r.n_tokens:,}",
            shown_duration(r.input_s),
            ratio_words(r.speedup),
            shown_verdict(r.speedup.verdict) if r.speedup else "",
            _memory(r.peak_bytes),
            _memory(r.middle_batch_peak_bytes),
            "–" if r.energy_j is None else f"{1e3 * r.energy_j:.3g} J {energy_mark(r.energy_source)}",
            "–" if r.padding == "static" else f"{r.difference_fraction:.1g}",
        )
        for r in rows
    ]


def _memory(n_bytes: int | None) -> str:
    return "–" if n_bytes is None else f"{n_bytes / MIB:.1f} MiB"


def lengths_verdict(rows: Sequence[LengthsResult], batch: int) -> Verdict | None:
    """Return whether dynamic padding is faster than a fixed length at a batch size; None where it was not measured there."""
    row = next((r for r in rows if (r.padding, r.batch) == ("dynamic", batch)), None)
    if row is None or row.speedup is None:
        return None
    about, *gains = lengths_words(rows)
    answers: dict[SpeedVerdict, Answer] = {"faster": "yes", "slower": "no", "no difference shown": "open"}
    return Verdict(
        headline=gettext(
            "At batch size {batch}, padding to the longest of a batch is {ratio} times as fast as to one fixed length."
        ).format(batch=batch, ratio=ratio_words(row.speedup)),
        evidence=" ".join(gains),
        scope=about
        + " "
        + gettext(
            "The gain is larger the shorter most inputs are beside the longest. The times are of this processor."
        ),
        answer=answers[row.speedup.verdict],
    )


def lengths_words(rows: Sequence[LengthsResult]) -> list[str]:
    """Return the lengths of the inputs, and for each batch size what dynamic padding gains over static padding."""
    first, tokens = rows[0], rows[0].lengths
    about = gettext(
        "{n} {source}: {mean:.0f} tokens on average, p50 {p50:.0f}, p95 {p95:.0f}, at most {longest}."
    ).format(
        n=tokens.n,
        source=translated(first.source, domain="edge"),
        mean=tokens.mean,
        p50=tokens.p50,
        p95=tokens.p95,
        longest=tokens.max,
    )
    return [about, *(_gains(r, rows) for r in rows if r.padding == "dynamic")]


def _gains(row: LengthsResult, rows: Sequence[LengthsResult]) -> str:
    words = gettext(
        "At batch size {batch}, padding to the longest of the batch instead of the longest of all is {ratio} times as fast{grouped}."
    ).format(
        batch=row.batch,
        ratio=ratio_words(row.speedup),
        grouped="".join(
            gettext(", and {ratio} times after sorting by length").format(ratio=ratio_words(r.speedup))
            for r in rows
            if (r.padding, r.batch) == ("sorted", row.batch)
        ),
    )
    memory = memory_words(row, rows)
    return f"{words} {memory}" if memory else words


def memory_words(row: LengthsResult, rows: Sequence[LengthsResult]) -> str:
    """Return how the memory of dynamic padding compares with that of static padding at the same batch size; "" where that is not known."""
    static = next((r for r in rows if (r.padding, r.batch) == ("static", row.batch)), None)
    whole = saved_percent(row.peak_bytes, static.peak_bytes if static else None)
    middle = saved_percent(row.middle_batch_peak_bytes, static.middle_batch_peak_bytes if static else None)
    if whole is None or middle is None:
        return ""
    return gettext(
        "At batch size {batch}, the memory of a process that answers all inputs changes by {whole} %, since one batch has the longest; that of "
        "one that answers only the batch of median length changes by {middle} %."
    ).format(batch=row.batch, whole=f"{round(-whole):+d}", middle=f"{round(-middle):+d}")


def saved_percent(own: int | None, static: int | None) -> float | None:
    """Return how much less memory is needed than with static padding, in percent; None where either is not known."""
    return 100 * (1 - own / static) if own and static else None
