"""TTFT with images in vLLM: the verdict, and the columns of its tables."""

from collections.abc import Sequence

from workbench.core.columns import Columns
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_p99, shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.questions.multimodal.rows import BreakEven, Cell, Stream, cells
from workbench.questions.multimodal.spec import CACHES

WITHIN = 0.15
PREDICTED = f"predicted {Provenance.ESTIMATED.mark}"


def percent(fraction: float | None) -> str:
    """Return a share as a whole percentage; "never" for a break-even hit rate that does not exist."""
    return "never" if fraction is None else shown_percent(fraction)


def _predicted_and_measured_ms(predicted_s: float, measured_s: float) -> str:
    return f"{1e3 * predicted_s:.1f} / {1e3 * measured_s:.1f}"


PART_COLUMNS: Columns[Cell] = {
    "Images": lambda c: c.label + (" (held out)" if c.is_held_out else ""),
    "TTFT p50": lambda c: shown_duration(c.ttft_p50_s),
    PREDICTED: lambda c: shown_duration(c.predicted.ttft_s),
    "error": lambda c: shown_percent(c.error_fraction, 1, sign=True),
    "host": lambda c: shown_duration(c.parts.accept_s),
    "encoder, projector": lambda c: f"{shown_duration(c.parts.encoder_s)}, {shown_duration(c.parts.projector_s)}",
    "language model": lambda c: shown_duration(c.parts.prompt_s),
    "prompt tokens": lambda c: f"{c.prompt_tokens:,}",
}
"""Columns of a size and number of images."""
BREAK_EVEN_COLUMNS: Columns[BreakEven] = {
    "Cache": lambda e: CACHES[e.cache],
    "break-even hit rate": lambda e: "{} ({:.0f} to {:.0f})".format(
        percent(e.hit_rate), *(100 * x for x in e.hit_rate_interval)
    ),
    PREDICTED: lambda e: percent(e.predicted_hit_rate),
    f"by hash time alone {Provenance.ESTIMATED.mark}": lambda e: percent(e.by_parts_hit_rate),
    "TTFT, all misses": lambda e: shown_duration(e.missed_s),
    "TTFT, all hits": lambda e: shown_duration(e.hit_s),
    "TTFT, no cache": lambda e: shown_duration(e.without_s),
}
"""Columns of a cache and its break-even."""
HIT_RATE_COLUMNS: Columns[Stream] = {
    "Cache": lambda s: CACHES[s.cache],
    "hit rate": lambda s: percent(s.hit_rate),
    "mean TTFT": lambda s: shown_duration(s.ttft_mean_s),
    "requests": lambda s: str(s.n),
}
"""Columns of a cache and hit rate."""
ERROR_COLUMNS: Columns[Cell] = {
    "Held out": lambda c: c.label,
    "measured": lambda c: shown_duration(c.ttft_p50_s),
    PREDICTED: lambda c: shown_duration(c.predicted.ttft_s),
    "error": lambda c: shown_percent(c.error_fraction, 1, sign=True),
    "host, ms (predicted / measured)": lambda c: _predicted_and_measured_ms(c.predicted.accept_s, c.parts.accept_s),
    "encoder, ms (predicted / measured)": lambda c: _predicted_and_measured_ms(
        c.predicted.encoder_s, c.parts.encoder_s
    ),
    "language model, ms (predicted / measured)": lambda c: _predicted_and_measured_ms(
        c.predicted.prompt_s, c.parts.prompt_s
    ),
    f"from the calibration alone {Provenance.ESTIMATED.mark}": lambda c: shown_duration(
        c.computed.ttft_s if c.computed else None
    ),
}
"""Columns of a held-out size and number of images."""
SERVED_HEAD = ("Images", "request rate", "hit rate", "TTFT p50", "TTFT p99", "day")


def verdict(run: Run) -> Verdict:
    """Return the shares of the parts of TTFT, the error of the prediction, and the break-even hit rates of the caches."""
    measured = cells(run)
    middle = measured[len(measured) // 2]
    parts = (middle.parts.accept_s, middle.parts.encoder_s, middle.parts.prompt_s)
    host, encoder, model = (percent(part_s / middle.ttft_p50_s) for part_s in parts)
    errors = [abs(c.error_fraction) for c in measured if c.is_held_out]
    n_within = sum(e <= WITHIN for e in errors)
    caches = run.rows(BreakEven)
    pay = [f"{percent(e.hit_rate)} for {CACHES[e.cache]}" for e in caches if e.hit_rate is not None]
    dearer = [e for e in caches if e.missed_s > e.without_s]
    points = []
    if n_within < len(errors):
        points.append(f"{len(errors) - n_within} predictions are off by more than {percent(WITHIN)}")
    if never := [CACHES[e.cache] for e in caches if e.hit_rate is None]:
        points.append(f"no hit rate makes {' and '.join(never)} pay")
    if dearer:
        worst = max(dearer, key=lambda e: e.missed_s / e.without_s)
        points.append(
            f"where all images miss, {CACHES[worst.cache]} costs {percent(worst.missed_s / worst.without_s - 1)} more TTFT than no cache"
        )
    return Verdict(
        headline=f"For {middle.label} pixels, the host takes {host} of TTFT, the encoder {encoder} and the language model {model}.",
        evidence=f"TTFT is predicted within {percent(WITHIN)} for {n_within} of {len(errors)} held-out sizes and numbers of images (largest error "
        f"{percent(max(errors, default=0))}). Break-even hit rates: {', '.join(pay) or 'not measured'}.",
        objection=objections(points),
    )


def served_rows(loads: Sequence[Run]) -> list[tuple[str, ...]]:
    """Return the cells of ``SERVED_HEAD`` for each load that sent images to a server."""
    rows = list[tuple[str, ...]]()
    for run, spec in ((load, load.asked(LoadSpec)) for load in loads):
        if not spec.n_images:
            continue
        result = run.row(LoadResult)
        ttft = (result.ttft_s.from_due.p50, result.ttft_s.from_due.p99) if result else (None, None)
        sent = f"{spec.n_images} × {spec.image_sizes}", f"{spec.rate_per_s:g}/s {spec.arrivals}"
        n = result.ttft_s.from_due.n if result else 0
        times = shown_duration(ttft[0]), shown_p99(ttft[1], n=n)
        rows.append((*sent, percent(spec.image_hit_fraction), *times, run.day))
    return rows
