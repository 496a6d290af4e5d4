"""What runs of attention say: which technique for which length, from where on it pays, and what it costs in quality."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.core.attention import TECHNIQUES
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.experiments.quantization_verdict import Verdict

TIE = 1.02  # medians closer than this are called equal
Row = Mapping[str, Any]


def same_place(runs: Sequence[Run], run: Run) -> list[Run]:
    """The runs of the same model on the same device, newest first."""
    here = run.spec["model"], run.environment.device
    return [r for r in runs if (r.spec["model"], r.environment.device) == here]


def combined_cells(runs: Sequence[Run]) -> list[Row]:
    """Cells of several runs on one device, the newest of each technique, phase and length; with ``run`` and ``window``.

    Args:
        runs: Newest first.
    """
    found: dict[tuple[str, str, int], Row] = {}
    for run in runs:
        for row in run.results:
            if row["part"] == "cell":
                key = row["technique"], row["phase"], row["length_tokens"]
                found.setdefault(key, {**row, "run": run.id, "window": run.spec["window"]})
    return sorted(found.values(), key=lambda r: (r["phase"], r["length_tokens"]))


def measured_at(cells: Sequence[Row], *, phase: str, length_tokens: int) -> list[Row]:
    """Measured cells of a phase and length, fastest first."""
    here = [r for r in cells if r["phase"] == phase and r["length_tokens"] == length_tokens]
    return sorted((r for r in here if r["status"] == "measured"), key=lambda r: r["p50_s"])


def is_exact(row: Row) -> bool:
    """Whether every key is seen, so that only rounding changes the answer."""
    return TECHNIQUES[row["technique"]].pattern == "full"


def crossover_tokens(cells: Sequence[Row], technique: str, *, phase: str) -> int | None:
    """Least measured length from which a technique beats the fastest full attention by more than 2 %; None: none."""
    lengths = sorted({r["length_tokens"] for r in cells if r["phase"] == phase})
    faster: list[int] = []
    known: list[int] = []
    for length in lengths:
        here = measured_at(cells, phase=phase, length_tokens=length)
        mine = next((r for r in here if r["technique"] == technique), None)
        full = next((r for r in here if is_exact(r)), None)
        if mine and full:
            known.append(length)
            if mine["p50_s"] * TIE < full["p50_s"]:
                faster.append(length)
    return next((n for n in faster if all(m in faster for m in known if m >= n)), None)


def attention_verdict(cells: Sequence[Row], *, phase: str, length_tokens: int) -> Verdict:
    """Fastest exact technique, what sparser ones save from where on, and what speaks against them."""
    here = measured_at(cells, phase=phase, length_tokens=length_tokens)
    exact = [r for r in here if is_exact(r)]
    if not exact:
        headline = f"No full attention was measured at {length_tokens} tokens."
        return Verdict(best=None, headline=headline, evidence="Choose another length.", objection="nothing to compare.")
    best = exact[0]
    what = "reads a prompt of" if phase == "prefill" else "continues a context of"
    headline = f"{best['label']} {what} {length_tokens} tokens fastest among exact kernels: {shown_duration(best['p50_s'])} a layer"
    sparse = [r for r in here if not is_exact(r)]
    if sparse and sparse[0]["p50_s"] * TIE < best["p50_s"]:
        times = best["p50_s"] / sparse[0]["p50_s"]
        headline += f"; {sparse[0]['label']} is {three_digits(times)} times as fast and sees less"
    ceiling = "matrix rate" if phase == "prefill" else "copy bandwidth"
    share = f"{100 * best['ceiling_fraction']:.0f} % of this device's {ceiling}" if "ceiling_fraction" in best else ""
    memory = f", {shown_bytes(best['peak_bytes'])} at the peak" if best.get("peak_bytes") else ""
    evidence = (
        f"{share}{memory}; median {shown_duration(best['p50_s'])} "
        f"[{shown_duration(best['p50_s_low'])}, {shown_duration(best['p50_s_high'])}], n = {best['n']}; "
        f"largest error against float64 {three_digits(best['max_error'])}."
    )
    return Verdict(
        best=best["technique"], headline=headline + ".", evidence=evidence, objection=_objection(cells, phase)
    )


def _objection(cells: Sequence[Row], phase: str) -> str:
    points = []
    names = dict.fromkeys(r["technique"] for r in cells if r["status"] == "measured" and not is_exact(r))
    starts = {n: crossover_tokens(cells, n, phase=phase) for n in names}
    paying = {n: at for n, at in starts.items() if at is not None}
    if paying:
        text = ", ".join(f"{TECHNIQUES[n].label} from {at} tokens on" for n, at in paying.items())
        points.append(f"fewer keys pay only later ({text}), and what lies outside them is lost")
    never = [TECHNIQUES[n].label for n, at in starts.items() if at is None]
    if never:
        points.append(f"{', '.join(never)} never beat the fastest full kernel here")
    points.append("one layer alone, with random numbers")
    text = "; ".join(points)
    return text[0].upper() + text[1:] + "."
