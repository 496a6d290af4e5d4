"""What a run of vLLM's steps says: which precision is fastest where, and from when on four bits stop paying."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.core.runs import Run
from workbench.core.serving_speed import Served
from workbench.core.units import shown_duration, three_digits
from workbench.experiments.quantization_verdict import Verdict
from workbench.experiments.serving_speed import TIE, crossover_batch

PLAIN = "bf16"
FOUR_BITS, EIGHT_BITS = ("w4a16", "w4a16-asym", "nvfp4a16"), ("fp8", "w8a8")

Cells = Mapping[tuple[str, int, int], Mapping[str, Any]]


def cells_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, int], Mapping[str, Any]]:
    """Measured rows by precision, batch and context."""
    return {(r["served"], r["batch"], r["context_tokens"]): r for r in rows if r["status"] == "measured"}


def speed_verdict(run: Run, *, batch: int, context_tokens: int) -> Verdict:
    """The fastest precision in a cell beside BF16, and whether INT4 is slower than eight bits."""
    cells = cells_of(run.results)
    here = {name: row for (name, b, c), row in cells.items() if (b, c) == (batch, context_tokens)}
    if not here:
        return Verdict(
            best=None,
            headline="Nothing was measured in this cell.",
            evidence="The prompts did not fit, or it was left out.",
            objection="Choose another batch or context.",
        )
    best = min(here, key=lambda name: here[name]["tpot_p50_s"])
    row, plain = here[best], here.get(PLAIN)
    label = Served.read(best).label
    factor = plain["tpot_p50_s"] / row["tpot_p50_s"] if plain else None
    size = f"{batch} × {context_tokens} tokens"
    headline = f"At {size}, {label} is fastest: {shown_duration(row['tpot_p50_s'])} per token"
    headline += f", {factor:.2f} times as fast as BF16." if factor and best != PLAIN else "."
    return Verdict(
        best=best,
        headline=headline,
        evidence=_evidence(here, best),
        objection=_objection(run, cells, best, context_tokens),
    )


def _evidence(here: Mapping[str, Mapping[str, Any]], best: str) -> str:
    row = here[best]
    low, high = shown_duration(row["tpot_p50_s_low"]), shown_duration(row["tpot_p50_s_high"])
    told = [f"median of {row['n_steps']} steps [{low}, {high}], p99 {shown_duration(row['tpot_p99_s'])}"]
    rivals = sorted((r["tpot_p50_s"], name) for name, r in here.items() if name != best)[:2]
    told += [f"{Served.read(name).label} {shown_duration(seconds)}" for seconds, name in rivals]
    text = "; ".join(told)
    return text[0].upper() + text[1:] + "."


def _objection(run: Run, cells: Cells, best: str, context_tokens: int) -> str:
    points = [p for p in (four_bits_against_eight(run), _stops_paying(run, best, context_tokens)) if p]
    prefills = {
        name: row["prefill_tokens_per_s"]
        for (name, b, c), row in cells.items()
        if (b, c) == max((b, c) for n, b, c in cells if n == best)
    }
    if prefills:
        quickest = max(prefills, key=lambda name: prefills[name])
        if prefills[quickest] > TIE * prefills.get(best, float("inf")):
            points.append(
                f"{Served.read(quickest).label} reads long prompts {prefills[quickest] / prefills[best]:.2f} times as fast"
            )
    points.append("weights are random, so this says nothing about accuracy")
    text = "; ".join(points[:3])
    return text[0].upper() + text[1:] + "."


def four_bits_against_eight(run: Run) -> str | None:
    """In how many cells the best four-bit format is slower than the best eight-bit one."""
    cells = cells_of(run.results)
    slower, compared = 0, 0
    for batch, context in dict.fromkeys((b, c) for _, b, c in cells):
        four = [cells[f, batch, context]["tpot_p50_s"] for f in FOUR_BITS if (f, batch, context) in cells]
        eight = [cells[f, batch, context]["tpot_p50_s"] for f in EIGHT_BITS if (f, batch, context) in cells]
        if four and eight:
            compared += 1
            slower += min(four) > TIE * min(eight)
    if not compared:
        return None
    return f"INT4 everywhere is slower than the better of FP8 and INT8 in {slower} of {compared} cells (by over 2 %)"


def _stops_paying(run: Run, best: str, context_tokens: int) -> str | None:
    if best == PLAIN:
        return None
    others = ["fp8" if best != "fp8" else PLAIN, PLAIN]
    for other in dict.fromkeys(others):
        batch = crossover_batch(run, best, other, context_tokens=context_tokens)
        if batch is not None:
            return f"from {batch} sequences on it is no faster than {Served.read(other).label}"
    return None


def sequences_that_fit(row: Mapping[str, Any]) -> int | None:
    """How many sequences of the row's context the cache holds."""
    capacity = row.get("kv_capacity_tokens")
    return int(capacity // row["context_tokens"]) if capacity else None


def gains(run: Run, *, context_tokens: int) -> dict[str, list[tuple[int, float]]]:
    """By precision: batch and how many times as fast as BF16, at one context."""
    cells = cells_of(run.results)
    made: dict[str, list[tuple[int, float]]] = {}
    for (name, batch, context), row in cells.items():
        plain = cells.get((PLAIN, batch, context_tokens))
        if context == context_tokens and plain and name != PLAIN:
            made.setdefault(name, []).append((batch, plain["tpot_p50_s"] / row["tpot_p50_s"]))
    return made


def shown_share(fraction: float | None) -> str:
    """A share of the roofline for a table."""
    return "–" if fraction is None else f"{three_digits(100 * fraction)} %"
