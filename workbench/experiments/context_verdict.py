"""What long-context runs say: how long, how fast, and whether things are still found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from workbench.core.context_quality import FULL
from workbench.core.runs import Run
from workbench.core.statistics import minimum_detectable
from workbench.core.units import shown_bytes, shown_duration, three_digits
from workbench.experiments.quantization_verdict import Verdict

Row = Mapping[str, Any]


def rows_of(run: Run, part: str) -> list[Row]:
    """The rows of one part of a run."""
    return [r for r in run.results if r["part"] == part]


def limit_of(run: Run) -> Row | None:
    """What is known of the longest context, or None when it was not asked for."""
    return next(iter(rows_of(run, "limit")), None)


def reading_series(run: Run) -> dict[str, list[Row]]:
    """Measured rows with ``ttft_s`` and ``step_p50_s`` by how the model was run, shortest context first."""
    series: dict[str, list[Row]] = {}
    for row in (*rows_of(run, "served"), *rows_of(run, "reading")):
        if row["status"] == "measured":
            name = row["label"] if row["part"] == "served" else f"PyTorch, chunks of {row['chunk_tokens']}"
            series.setdefault(name, []).append(row)
    return {name: sorted(rows, key=lambda r: r["length_tokens"]) for name, rows in series.items()}


def long_context_verdict(run: Run) -> Verdict:
    """The longest context that fits, how long it takes to read, and how near the prediction came."""
    limit, series = limit_of(run), reading_series(run)
    found = limit and limit.get("found_tokens")
    longest = max((rows[-1] for rows in series.values()), key=lambda r: r["length_tokens"], default=None)
    if longest is None:
        return Verdict(best=None, headline="Nothing was read.", evidence="All lengths failed.", objection="see below.")
    at = longest["length_tokens"]
    fastest = min((rows[-1] for rows in series.values() if rows[-1]["length_tokens"] == at), key=lambda r: r["ttft_s"])
    name = next(n for n, rows in series.items() if rows[-1] is fastest)
    headline = f"{at} tokens are read in {shown_duration(fastest['ttft_s'])} and continued at "
    headline += f"{shown_duration(fastest['step_p50_s'])} a token ({name})"
    evidence = ""
    if limit and found:
        off = 100 * (limit["predicted_tokens"] / found - 1)
        headline += f"; memory ends at {found} tokens"
        evidence = f"Predicted before loading: {limit['predicted_tokens']} tokens ({off:+.1f} %). "
    elif limit:
        evidence = f"Predicted by memory: ◌ {limit['predicted_tokens']} tokens; {limit.get('reason', '')} "
    held = [r for r in rows_of(run, "reading") if r.get("kv_held_bytes")]
    if held:
        worst = max(abs(r["kv_held_bytes"] / r["kv_predicted_bytes"] - 1) for r in held)
        evidence += f"Cache of {at} tokens: {shown_bytes(_cache_bytes(held, at))}; {_agreement(worst)}. "
    return Verdict(best=name, headline=headline + ".", evidence=evidence.strip(), objection=_objection(run, limit))


def _agreement(worst_fraction: float) -> str:
    return "its formula is exact" if worst_fraction < 1e-6 else f"its formula is off by {100 * worst_fraction:.2g} %"


def _cache_bytes(held: Sequence[Row], tokens: int) -> float:
    nearest = min(held, key=lambda r: abs(r["length_tokens"] - tokens))
    return float(nearest["kv_held_bytes"])


def _objection(run: Run, limit: Row | None) -> str:
    points = []
    if limit and limit.get("found_tokens") and limit["model_limit_tokens"]:
        times = limit["found_tokens"] / limit["model_limit_tokens"]
        if times > 1:
            points.append(
                f"the model was made for {limit['model_limit_tokens']} tokens: memory would hold {three_digits(times)} times that"
            )
    warm = [r for r in rows_of(run, "served") if r["status"] == "measured"]
    if warm:
        last = max(warm, key=lambda r: r["length_tokens"])
        points.append(
            f"a prompt whose prefix is in the cache is answered in {shown_duration(last['ttft_prefix_s'])} "
            f"instead of {shown_duration(last['ttft_s'])}, so the first reading is not what every request pays"
        )
    text = "; ".join(points) or "one sequence at a time; a server shares its cache among many"
    return text[0].upper() + text[1:] + "."


def variant_rows(run: Run) -> list[Row]:
    """The summary of each variant, in the order of the run."""
    return rows_of(run, "variant")


def quality_verdict(run: Run) -> Verdict:
    """Which variants find as much as full attention, which lose, with intervals."""
    rows = variant_rows(run)
    base = next((r for r in rows if r["variant"] == FULL), None)
    if base is None:
        r = rows[0]
        headline = f"The server finds {100 * r['right_fraction']:.0f} % of what was hidden"
        evidence = f"[{100 * r['right_fraction_low']:.0f}, {100 * r['right_fraction_high']:.0f}] %, n = {r['n']}."
        return Verdict(best=None, headline=headline + ".", evidence=evidence, objection="Nothing to compare it with.")
    others = [r for r in rows if r is not base]
    losing = [r for r in others if r["mcnemar_p"] < 0.05 and r["lost"] > r["won"]]
    keeping = [r for r in others if r not in losing]
    headline = f"Full attention finds {100 * base['right_fraction']:.0f} %"
    if losing:
        worst = min(losing, key=lambda r: r["right_fraction"])
        headline += f"; {worst['label']} only {100 * worst['right_fraction']:.0f} %"
    if keeping:
        names = " and ".join(r["label"] for r in keeping)
        headline += f"; no loss beyond chance with {names}"
    evidence = "; ".join(
        f"{r['label']} loses {r['lost']} of {r['n']} answers "
        f"({100 * r['right_fraction_low']:.0f} to {100 * r['right_fraction_high']:.0f} % found)"
        for r in losing
    )
    worst_kl = max(others, key=lambda r: r.get("mean_kl_nat_per_token", 0.0), default=base)
    fewest = min(r["n"] for r in rows)
    detectable = minimum_detectable(max(math.sqrt(max(r["lost"] + r["won"], 1)) for r in keeping or others) / fewest)
    objection = (
        f"{fewest} questions tell apart only differences of {100 * detectable:.2g} points or more; found keys do not tell everything: {worst_kl['label']} finds {100 * worst_kl['right_fraction']:.0f} % and "
        f"diverges most, KL {three_digits(worst_kl.get('mean_kl_nat_per_token', 0.0))} nat/token."
    )
    keeps_best = min(keeping, key=lambda r: r.get("mean_kl_nat_per_token", 0.0), default=None)
    return Verdict(
        best=keeps_best["variant"] if keeps_best else None,
        headline=headline + ".",
        evidence=(evidence or "No variant loses answers beyond chance (McNemar, p < 0.05)") + ".",
        objection=objection,
    )
