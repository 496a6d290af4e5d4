"""TTFT with images in vLLM: the verdict, and the columns of its tables."""

from collections.abc import Sequence

from workbench.core.columns import Columns
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import shown_duration, shown_p99, shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.questions.multimodal.rows import BreakEven, Cell, Stream, cells
from workbench.questions.multimodal.spec import CACHES

WITHIN = 0.15
PREDICTED = gettext("predicted {mark}").format(mark=Provenance.ESTIMATED.mark)


def percent(fraction: float | None) -> str:
    """Return a share as a whole percentage; "never" for a break-even hit rate that does not exist."""
    return gettext("never") if fraction is None else shown_percent(fraction)


def _predicted_and_measured_ms(predicted_s: float, measured_s: float) -> str:
    return f"{1e3 * predicted_s:.1f} / {1e3 * measured_s:.1f}"


PART_COLUMNS: Columns[Cell] = {
    gettext("Images"): lambda c: gettext("{label} (held out)").format(label=c.label) if c.is_held_out else c.label,
    "TTFT p50": lambda c: shown_duration(c.ttft_p50_s),
    PREDICTED: lambda c: shown_duration(c.predicted.ttft_s),
    gettext("error"): lambda c: shown_percent(c.error_fraction, 1, sign=True),
    gettext("host"): lambda c: shown_duration(c.parts.accept_s),
    gettext("encoder, projector"): lambda c: (
        f"{shown_duration(c.parts.encoder_s)}, {shown_duration(c.parts.projector_s)}"
    ),
    gettext("language model"): lambda c: shown_duration(c.parts.prompt_s),
    gettext("prompt tokens"): lambda c: f"{c.prompt_tokens:,}",
}
"""Columns of a size and number of images."""
BREAK_EVEN_COLUMNS: Columns[BreakEven] = {
    gettext("Cache"): lambda e: gettext(CACHES[e.cache]),
    gettext("break-even hit rate"): lambda e: gettext("{rate} ({low:.0f} to {high:.0f})").format(
        rate=percent(e.hit_rate), low=100 * e.hit_rate_interval[0], high=100 * e.hit_rate_interval[1]
    ),
    PREDICTED: lambda e: percent(e.predicted_hit_rate),
    gettext("by hash time alone {mark}").format(mark=Provenance.ESTIMATED.mark): lambda e: percent(e.by_parts_hit_rate),
    gettext("TTFT, all misses"): lambda e: shown_duration(e.missed_s),
    gettext("TTFT, all hits"): lambda e: shown_duration(e.hit_s),
    gettext("TTFT, no cache"): lambda e: shown_duration(e.without_s),
}
"""Columns of a cache and its break-even."""
HIT_RATE_COLUMNS: Columns[Stream] = {
    gettext("Cache"): lambda s: gettext(CACHES[s.cache]),
    gettext("hit rate"): lambda s: percent(s.hit_rate),
    gettext("mean TTFT"): lambda s: shown_duration(s.ttft_mean_s),
    gettext("requests"): lambda s: str(s.n),
}
"""Columns of a cache and hit rate."""
ERROR_COLUMNS: Columns[Cell] = {
    gettext("Held out"): lambda c: c.label,
    gettext("measured"): lambda c: shown_duration(c.ttft_p50_s),
    PREDICTED: lambda c: shown_duration(c.predicted.ttft_s),
    gettext("error"): lambda c: shown_percent(c.error_fraction, 1, sign=True),
    gettext("host, ms (predicted / measured)"): lambda c: _predicted_and_measured_ms(
        c.predicted.accept_s, c.parts.accept_s
    ),
    gettext("encoder, ms (predicted / measured)"): lambda c: _predicted_and_measured_ms(
        c.predicted.encoder_s, c.parts.encoder_s
    ),
    gettext("language model, ms (predicted / measured)"): lambda c: _predicted_and_measured_ms(
        c.predicted.prompt_s, c.parts.prompt_s
    ),
    gettext("from the calibration alone {mark}").format(mark=Provenance.ESTIMATED.mark): lambda c: shown_duration(
        c.computed.ttft_s if c.computed else None
    ),
}
"""Columns of a held-out size and number of images."""
SERVED_HEAD = (
    gettext("Images"),
    gettext("request rate"),
    gettext("hit rate"),
    "TTFT p50",
    "TTFT p99",
    gettext("day"),
)


def verdict(run: Run) -> Verdict:
    """Return the shares of the parts of TTFT, the error of the prediction, and the break-even hit rates of the caches."""
    measured = cells(run)
    middle = measured[len(measured) // 2]
    parts = (middle.parts.accept_s, middle.parts.encoder_s, middle.parts.prompt_s)
    host, encoder, model = (percent(part_s / middle.ttft_p50_s) for part_s in parts)
    errors = [abs(c.error_fraction) for c in measured if c.is_held_out]
    n_within = sum(e <= WITHIN for e in errors)
    caches = run.rows(BreakEven)
    pay = [
        gettext("{hit_rate} for {cache}").format(hit_rate=percent(e.hit_rate), cache=gettext(CACHES[e.cache]))
        for e in caches
        if e.hit_rate is not None
    ]
    dearer = [e for e in caches if e.missed_s > e.without_s]
    points = []
    if n_within < len(errors):
        points.append(
            gettext("{n} predictions are off by more than {within}").format(
                n=len(errors) - n_within, within=percent(WITHIN)
            )
        )
    if never := [gettext(CACHES[e.cache]) for e in caches if e.hit_rate is None]:
        points.append(gettext("no hit rate makes {caches} pay").format(caches=gettext(" and ").join(never)))
    if dearer:
        worst = max(dearer, key=lambda e: e.missed_s / e.without_s)
        points.append(
            gettext("where all images miss, {cache} costs {share} more TTFT than no cache").format(
                cache=gettext(CACHES[worst.cache]), share=percent(worst.missed_s / worst.without_s - 1)
            )
        )
    return Verdict(
        headline=gettext(
            "For {label} pixels, the host takes {host} of TTFT, the encoder {encoder} and the language model {model}."
        ).format(label=middle.label, host=host, encoder=encoder, model=model),
        evidence=gettext(
            "TTFT is predicted within {within} for {n_within} of {errors} held-out sizes and numbers of images (largest "
            "error {largest}). Break-even hit rates: {pay}."
        ).format(
            within=percent(WITHIN),
            n_within=n_within,
            errors=len(errors),
            largest=percent(max(errors, default=0)),
            pay=gettext(", ").join(pay) or gettext("not measured"),
        ),
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
