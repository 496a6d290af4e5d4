"""The FAQ's table of long-context techniques, row by row, beside what was measured or follows from arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from workbench.attention.rows import Cell, ComparedCache
from workbench.catalog.tables import Claim
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.questions.long_context.attention.rows import latest_cells, measured_at, measured_lengths
from workbench.questions.long_context.ring_attention.rows import largest_ring

QUESTION = 5
PAGE_TOKENS = 16
FLASH, FULL = ("cudnn", "flash"), ("cudnn", "flash", "fa3")
CLAIM_HEAD = ("Technique", "metric", "claimed", "condition", "result", "outcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What stands against a claim: the number with its conditions, or why there is none."""

    text: str
    provenance: Provenance | None = None
    """None where there is no number."""
    value: float | None = None
    """In the claim's unit; None where it depends on a setting, so that it cannot be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A claim, what stands against it, and how the two compare."""

    claim: Claim
    finding: Finding

    @property
    def outcome(self) -> str:
        """Return how the finding compares with the claim."""
        value = self.finding.value
        if value is None:
            return "not tested" if self.finding.provenance is None else "depends on the setting"
        if self.claim.low is not None and value < self.claim.low:
            return "less than claimed"
        if self.claim.high is not None and value > self.claim.high:
            return "more than claimed"
        return "as claimed"

    @property
    def cells(self) -> tuple[str, ...]:
        """Return the cells of ``CLAIM_HEAD``."""
        claim, provenance = self.claim, self.finding.provenance
        return (
            claim.technique,
            claim.metric.replace("_", " "),
            f"{Provenance.PUBLISHED.mark} {claim.shown_range}",
            claim.condition,
            f"{provenance.mark} {self.finding.text}" if provenance else self.finding.text,
            self.outcome,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What claims are judged by: runs on GPUs, newest first."""

    attention: Sequence[Run]
    ring: Sequence[Run]
    long_context: Sequence[Run]

    def fastest(
        self, names: Sequence[str], baselines: Sequence[str], *, phase: str = "prefill"
    ) -> tuple[Cell, Cell, str] | None:
        """Return the fastest of two groups at the greatest length at which both were measured, and how they differ."""
        cells = latest_cells(self.attention)
        for length in reversed(measured_lengths(cells, phase=phase)):
            here = measured_at(cells, phase=phase, length_tokens=length)  # fastest first
            a, b = (next((r for r in here if r.technique in group), None) for group in (names, baselines))
            if a and b:
                device = self.attention[0].environment.device
                return a, b, f"{a.label} against {b.label}, {length} tokens, {device}"
        return None


def claim_rows(claims: Sequence[Claim], evidence: Evidence) -> list[ClaimRow]:
    """Return the rows of the question; what was not measured says so."""
    return [
        ClaimRow(claim=c, finding=JUDGES[c.technique, c.metric](evidence))
        for c in claims
        if c.question == QUESTION and (c.technique, c.metric) in JUDGES
    ]


def _speedup(
    evidence: Evidence, names: Sequence[str], baselines: Sequence[str], *, phase: str = "prefill", note: str = ""
) -> Finding:
    if (pair := evidence.fastest(names, baselines, phase=phase)) is None:
        return Finding(text="not measured on a GPU")
    value = pair[1].p50_s.value / pair[0].p50_s.value
    return Finding(text=f"{three_digits(value)}×: {pair[2]}{note}", provenance=Provenance.MEASURED, value=value)


def _saving(evidence: Evidence, names: Sequence[str], baselines: Sequence[str]) -> Finding:
    pair = evidence.fastest(names, baselines)
    if pair is None or pair[0].peak_bytes is None or pair[1].peak_bytes is None:
        return Finding(text="not measured on a GPU")
    value = 100 * (1 - pair[0].peak_bytes / pair[1].peak_bytes)
    return Finding(text=f"{three_digits(value)} %: {pair[2]}", provenance=Provenance.MEASURED, value=value)


def _paged_saving(_evidence: Evidence) -> Finding:
    context, reserved = 8192, 131072  # a multiple of the page
    saved = 100 * (1 - context / reserved)
    text = f"{saved:.0f} %: {context} tokens in pages of {PAGE_TOKENS} instead of {reserved} reserved"
    return Finding(text=text, provenance=Provenance.ESTIMATED, value=saved)


def _sliding_saving(evidence: Evidence) -> Finding:
    for run in evidence.long_context:
        by_name = {r.cache: r for r in run.rows(ComparedCache)}
        own, whole = by_name.get("sliding"), by_name.get("dynamic")
        if own and whole and own.window_tokens:
            saved = 100 * (1 - own.kv_held_bytes / whole.kv_held_bytes)
            share = 100 * own.window_tokens / own.length_tokens
            text = f"{three_digits(saved)} % of the cache with a window of {share:.0f} % of the context"
            return Finding(text=text, provenance=Provenance.MEASURED)
    return Finding(text="not measured")


def _ring_speedup(evidence: Evidence) -> Finding:
    if (largest := largest_ring(evidence.ring)) is None:
        return Finding(text="not measured on several GPUs")
    run, row = largest
    place = f"{row.n_devices} {run.environment.device}, {row.length_tokens} tokens, prefill"
    return Finding(text=f"{three_digits(row.speedup)}× on {place}", provenance=Provenance.MEASURED, value=row.speedup)


ALONE = " (the kernel alone; more sequences fit, which is where a server gains)"
ALL_KEPT = "0 %: any key may be chosen later, so the whole cache is kept"
JUDGES: Mapping[tuple[str, str], Callable[[Evidence], Finding]] = {
    ("Flash Attention", "speedup"): lambda e: _speedup(e, FLASH, ("math",)),
    ("Flash Attention", "memory_saving"): lambda e: _saving(e, FLASH, ("math",)),
    ("sliding window", "speedup"): lambda e: _speedup(e, ("window-flex", "window"), FULL),
    ("sliding window", "memory_saving"): _sliding_saving,
    ("sparse attention", "speedup"): lambda e: _speedup(e, ("block-sparse-flex", "block-sparse"), FULL),
    ("sparse attention", "memory_saving"): lambda _: Finding(text=ALL_KEPT, provenance=Provenance.ESTIMATED, value=0.0),
    ("sequence parallelism", "speedup"): _ring_speedup,
    ("sequence parallelism", "memory_saving"): lambda _: Finding(
        text="each device holds its share of the tokens; peaks were not compared"
    ),
    ("PagedAttention", "speedup"): lambda e: _speedup(e, ("paged-gather",), FLASH, phase="decode", note=ALONE),
    ("PagedAttention", "memory_saving"): _paged_saving,
}
"""What judges each claim, by its technique and metric."""
