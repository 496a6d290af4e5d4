"""Pieces of the answer about precision by layer: heat map, what to take away, and how far the proxies are right."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.core.checkpoints import FORMATS, group_named, recipe
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, three_digits
from workbench.estimate.mixed_precision import Solution
from workbench.experiments.plan_ledger import Ledger
from workbench.experiments.plan_space import PlanSpace, short_format
from workbench.figures.mixed_precision import MeasuredPlan, PlanCell, damage_against_cost, plan_heat_map
from workbench.figures.tables import table
from workbench.panels.shared_view import code_block, run_label


def stands_on(run: Run | None, model: str) -> str:
    """The line under the title."""
    if run is None:
        return escape(Path(model).name)
    spec = run.spec
    half = spec["n_windows"] // 2
    return (
        f"● measured · {escape(Path(spec['model']).name)} on {escape(run.environment.device)} · each format in each layer "
        f"group alone: {half} × {spec['window_tokens']} tokens; plans verified on {half} others; GPTQ saw "
        f"{spec['n_samples']} × {spec['window_tokens']} tokens · run {run.id}, {run.day}"
    )


def transferred(run: Run, timed: Run | None) -> str | None:
    """What to object when the paid time is of another model's products."""
    if timed is None or Path(timed.spec["model"]).name == Path(run.spec["model"]).name:
        return None
    return (
        f"times are of {Path(timed.spec['model']).name}'s products, damages of {Path(run.spec['model']).name}: "
        "measure the sensitivity of the model that you serve"
    )


def plan_plot(space: PlanSpace, chosen: Solution) -> go.Figure:
    """Damage over cost in the unit of the space."""
    measured = [
        MeasuredPlan(
            cost=s.cost,
            kl=r["verified_kl_nat_per_token"],
            low=r["verified_kl_nat_per_token_low"],
            high=r["verified_kl_nat_per_token_high"],
            is_random=r["origin"] == "random",
        )
        for s, r in space.measured()
    ]
    return damage_against_cost(
        space.corners,
        chosen,
        uniform={short_format(f): s for f, s in space.uniform.items()},
        measured=measured,
        axis=space.unit.axis,
        factor=space.unit.factor,
    )


def heat_map(space: PlanSpace, chosen: Solution) -> str:
    """The plan by layer and role, coloured by the damage of the narrowest format."""
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for row in space.layers:
        by_group.setdefault(row["group"], []).append(row)
    narrowest = min(space.layers, key=lambda r: r["stored_bits"])["format"]
    cells = [
        PlanCell(
            group=group,
            layer=rows[0]["layer"],
            role=rows[0]["role"],
            format=short_format(chosen.plan[group]),
            kl=next(r["kl_nat_per_token"] for r in rows if r["format"] == narrowest),
            hint=f"{group}\n" + "\n".join(_told(r) for r in rows),
        )
        for group, rows in by_group.items()
    ]
    return plan_heat_map(cells, coloured_by=f"KL with {FORMATS[narrowest].label} in this group alone")


def _told(row: Mapping[str, Any]) -> str:
    low, high = three_digits(row["kl_nat_per_token_low"]), three_digits(row["kl_nat_per_token_high"])
    return f"{short_format(row['format'])}: KL {three_digits(row['kl_nat_per_token'])} [{low}, {high}]"


def plan_table(space: PlanSpace, book: Ledger, chosen: Solution) -> str:
    """The chosen plan beside one format everywhere: damage, memory and time at once."""
    head = (
        "Plan",
        "KL, nat/token ◌",
        "verified ●",
        "bits per weight",
        "linear layers",
        *(f"time, % of BF16 ●<br><small>{escape(t.label)}</small>" for t in book.timed),
    )
    row = space.verified(chosen)
    rows = [_plan_row("<b>the chosen plan</b>", chosen, book, row)]
    others = sorted(space.uniform.items(), key=lambda item: -item[1].damage)
    for name, s in others:
        rows.append(_plan_row(f"{short_format(name)} everywhere", s, book, space.verified(s)))
    return table(head, rows, highlighted=0)


def _plan_row(label: str, solution: Solution, book: Ledger, measured: Mapping[str, Any] | None) -> tuple[str, ...]:
    bits, size = book.stored_bits(solution.plan), book.stored_bytes(solution.plan)
    kl = measured["verified_kl_nat_per_token"] if measured else None
    return (
        label,
        three_digits(solution.damage) if solution.damage else "0",
        three_digits(kl) if kl is not None else "–",
        three_digits(bits) if bits is not None else "–",
        shown_bytes(size) if size is not None else "–",
        *(f"{100 * f:.0f} %" if f is not None else "no kernel" for f in book.time_fractions(solution.plan)),
    )


def take_away(model: str, space: PlanSpace, chosen: Solution) -> str:
    """Commands, the plan as a file and as llm-compressor's recipe."""
    groups = [group_named(name) for name in chosen.plan]
    plan = json.dumps({"plan": dict(chosen.plan)}, indent=1)
    commands = code_block(
        "# save the plan below as plan.json, then\nworkbench engines install llmcompressor\n"
        f"workbench checkpoints {model} --schemes mixed --plan plan.json --out checkpoints\n"
        f"workbench evaluate {model} checkpoints/*mixed* --in-vllm\n"
        "vllm serve checkpoints/*mixed*"
    )
    return (
        f"{commands}<details><summary>plan.json ({space.unit.shown(chosen.cost)})</summary>{code_block(plan)}</details>"
        f"<details><summary>llm-compressor's recipe</summary>{code_block(recipe(chosen.plan, groups))}</details>"
    )


def agreement_table(space: PlanSpace) -> str:
    """How well cheaper measures order the layer groups."""
    rows = [
        (escape(FORMATS[a.format].label), f"{a.fisher:+.2f}", f"{a.weight_error:+.2f}", f"{a.input_outliers:+.2f}")
        for a in space.agreement
    ]
    head = ("Format", "Fisher proxy", "relative weight error", "input outliers")
    return (
        "<p>Rank correlation (Spearman) with the measured KL over all layer groups; 1 would order them alike. The Fisher "
        "proxy costs eight backward passes instead of one evaluation for each format and group.</p>" + table(head, rows)
    )


def history(runs: Sequence[Run], shown: Run) -> str:
    """Stored runs, the shown one marked."""
    rows = [(("▸ " if r.id == shown.id else "") + escape(run_label(r)), str(len(r.results))) for r in runs[:12]]
    return table(("Run", "rows"), rows)
