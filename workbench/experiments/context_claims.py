"""The FAQ's table of long-context techniques, row by row, beside what was measured or follows from arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.catalog.tables import Claim
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.experiments.attention_verdict import combined_cells

QUESTION = 5
PAGE_TOKENS = 16
MARKS = "●◌"
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """A claim, what stands against it, and how the two compare."""

    claim: Claim
    found: str
    """With its mark of provenance."""
    outcome: str


def claim_rows(
    claims: Sequence[Claim], *, attention: Sequence[Run], ring: Sequence[Run], long_context: Sequence[Run]
) -> list[ClaimRow]:
    """The rows of the question, from runs on GPUs (newest first); what was not measured says so."""
    cells = combined_cells([r for r in attention if r.environment.device_id != "cpu"])
    device = next((r.environment.device for r in attention if r.environment.device_id != "cpu"), "–")
    rows = []
    for claim in claims:
        if claim.question == QUESTION and claim.metric in {"speedup", "memory_saving"}:
            value, text = _found(claim, cells, device, ring, long_context)
            rows.append(
                ClaimRow(claim=claim, found=text, outcome=_outcome(claim, value, mark_free=text[0] not in MARKS))
            )
    return rows


def _outcome(claim: Claim, value: float | None, *, mark_free: bool) -> str:
    if value is None:
        return "not tested" if mark_free else "depends on the setting"
    if claim.low is not None and value < claim.low:
        return "less than claimed"
    if claim.high is not None and value > claim.high:
        return "more than claimed"
    return "as claimed"


def _found(
    claim: Claim, cells: Sequence[Row], device: str, ring: Sequence[Run], long_context: Sequence[Run]
) -> tuple[float | None, str]:
    saving = claim.metric == "memory_saving"
    name = claim.technique
    if name == "Flash Attention":
        pair = _pair(cells, ("cudnn", "flash"), ("math",))
        return _peaks(pair, device) if saving else _times(pair, device)
    if name == "sliding window":
        if saving:
            return _sliding_cache(long_context)
        return _times(_pair(cells, ("window-flex", "window"), ("cudnn", "flash", "fa3")), device)
    if name == "sparse attention":
        if saving:
            return 0.0, "◌ 0 %: any key may be chosen later, so the whole cache is kept"
        return _times(_pair(cells, ("block-sparse-flex", "block-sparse"), ("cudnn", "flash", "fa3")), device)
    if name == "sequence parallelism":
        if saving:
            return None, "each device holds its share of the tokens; peaks were not compared"
        return _ring(ring)
    if name == "PagedAttention" and saving:
        context, reserved = 8192, 131072
        paged = -(-context // PAGE_TOKENS) * PAGE_TOKENS
        wasted = 100 * (1 - paged / reserved)
        return wasted, f"◌ {wasted:.0f} %: {context} tokens in pages of {PAGE_TOKENS} instead of {reserved} reserved"
    if name == "PagedAttention":
        pair = _pair(cells, ("paged-gather",), ("cudnn", "flash"), phase="decode")
        value, text = _times(pair, device)
        return value, f"{text} (the kernel alone; more sequences fit, which is where a server gains)"
    return None, "–"


def _pair(
    cells: Sequence[Row], ours: Sequence[str], others: Sequence[str], *, phase: str = "prefill"
) -> tuple[Row, Row] | None:
    """The fastest of two groups at the greatest length at which both were measured."""
    by_length: dict[int, dict[str, Row]] = {}
    for r in cells:
        if r["phase"] == phase and r["status"] == "measured":
            by_length.setdefault(r["length_tokens"], {})[r["technique"]] = r
    for length in sorted(by_length, reverse=True):
        here = by_length[length]
        groups = [[here[t] for t in names if t in here] for names in (ours, others)]
        if all(groups):
            first, second = (min(g, key=lambda r: r["p50_s"]) for g in groups)
            return first, second
    return None


def _times(pair: tuple[Row, Row] | None, device: str) -> tuple[float | None, str]:
    if pair is None:
        return None, "not measured on a GPU"
    ours, other = pair
    value = other["p50_s"] / ours["p50_s"]
    at = ours["length_tokens"]
    return value, f"● {three_digits(value)}×: {ours['label']} against {other['label']}, {at} tokens, {device}"


def _peaks(pair: tuple[Row, Row] | None, device: str) -> tuple[float | None, str]:
    if pair is None:
        return None, "not measured on a GPU"
    ours, other = pair
    value = 100 * (1 - ours["peak_bytes"] / other["peak_bytes"])
    at = ours["length_tokens"]
    return value, f"● {three_digits(value)} %: {ours['label']} against {other['label']}, {at} tokens, {device}"


def _sliding_cache(runs: Sequence[Run]) -> tuple[float | None, str]:
    for run in runs:
        by_name = {r["cache"]: r for r in run.results if r["part"] == "cache" and r["status"] == "measured"}
        if {"sliding", "dynamic"} <= set(by_name):
            own, whole = by_name["sliding"], by_name["dynamic"]
            value = 100 * (1 - own["kv_held_bytes"] / whole["kv_held_bytes"])
            share = own["window_tokens"] / own["length_tokens"]
            return None, f"● {three_digits(value)} % of the cache with a window of {100 * share:.0f} % of the context"
    return None, "not measured"


def _ring(runs: Sequence[Run]) -> tuple[float | None, str]:
    rows = [(run, r) for run in runs for r in run.results if r.get("speedup") and r["world"] > 1]
    if not rows:
        return None, "not measured on several GPUs"
    run, row = max(rows, key=lambda pair: (pair[1]["length_tokens"], pair[1]["world"]))
    device = run.environment.device
    text = f"● {three_digits(row['speedup'])}× on {row['world']} {device}, {row['length_tokens']} tokens, prefill"
    return row["speedup"], text
