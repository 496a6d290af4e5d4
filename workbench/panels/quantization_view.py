"""The answer's view: HTML and figures from the state and the stored runs; the same for live panels and reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.catalog.models import model_spec_from
from workbench.catalog.tables import devices
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.quantization import METHODS, QuantizationSpec
from workbench.core.runs import Run
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits
from workbench.estimate.cost import usd_per_million_output_tokens
from workbench.experiments.quantization_verdict import KL_LIMITS, results_of, verdict
from workbench.export.page import figure_div, what_if
from workbench.figures.quantization import accuracy_against_speed, claimed_and_measured
from workbench.figures.tables import ESTIMATED, LEGEND, message_card, quantization_table, table, verdict_card
from workbench.panels.choices import price_suggestion
from workbench.panels.quantization_state import (
    QuantizationState,
    claim_points,
    estimated_rows,
    launch_command,
    runs_for,
    speed_claims,
    usd_by_method,
    what_if_rows,
)
from workbench.panels.shared_view import code_block, origin, run_label

TITLE = "Does a lower precision pay on this machine?"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown. ``tabs``: launch command, spec as code, history, compare."""

    header: str
    answer: str
    figures: tuple[Callable[[], go.Figure], ...]
    """Made one by one when shown, so that the first is on its way while the second is made."""
    table: str
    tabs: tuple[str, str, str, str]
    batches: list[int]
    run_id: str | None


def draw(state: QuantizationState, runs: Sequence[Run], *, here: Device) -> View:
    """The view of a state."""
    if state.hardware.startswith("catalog:"):
        return _estimate_view(state, runs)
    candidates = runs_for(state, runs, here)
    run = next((r for r in runs if r.id == state.run_id), candidates[0] if candidates else None)
    if run is None:
        return _empty_view(state, runs)
    results = results_of(run)
    batches = sorted({d.batch for r in results for d in r.decode})
    batch = state.batch if state.batch in batches else batches[0]
    answer = verdict(run, kl_limit=KL_LIMITS[state.limit], batch=batch)
    best = answer.best
    notes = "".join(_notes(state, run, here))
    points, baseline = claim_points(run, batch)
    figures = (
        lambda: accuracy_against_speed(results, batch=batch, best=best),
        lambda: claimed_and_measured(points, speed_claims(), baseline=baseline, batch=batch),
    )
    return View(
        header=_header(_stands_on(run)),
        answer=notes + verdict_card(answer.headline, answer.evidence, answer.objection, is_stale=_is_stale(state, run)),
        figures=figures,
        table=quantization_table(results, batch=batch, best=best, usd_per_million=usd_by_method(run, state)),
        tabs=(
            code_block(launch_command(state, best)),
            code_block(QuantizationSpec.from_dict(run.spec).as_code()),
            _history(runs, run),
            _comparison(run, next((r for r in runs if r.id == state.compared_id), None), batch),
        ),
        batches=batches,
        run_id=run.id,
    )


def _header(sub: str) -> str:
    return f"<h2>{TITLE}</h2><p class='sub'>{sub}</p>"


def _stands_on(run: Run) -> str:
    spec, env = run.spec, run.environment
    accuracy = (
        "no accuracy: random weights"
        if spec["random_weights"]
        else f"accuracy: {spec['n_windows']} × {spec['window_tokens']} tokens of {escape(Path(spec['text']).name if spec['text'] else 'held-out text')}"
    )
    speed = f"speed: {spec['prompt_tokens']} tokens in, {spec['decode_tokens']} out"
    return f"● measured · {escape(Path(spec['model']).name)} on {escape(env.device)} ({env.n_cpus} cores) · {accuracy} · {speed} · run {run.id}, {run.day}"


def _is_stale(state: QuantizationState, run: Run) -> bool:
    """Whether methods are chosen that this run did not measure."""
    return state.hardware.startswith("this") and bool(set(state.methods) - set(run.spec["methods"]))


def _notes(state: QuantizationState, run: Run, here: Device) -> list[str]:
    notes = []
    if state.hardware.startswith("this") and run.environment.device != here.name:
        notes.append(
            message_card(
                "info", "A run from another machine is shown.", run.environment.device, "Press Run to measure yours."
            )
        )
    elif _is_stale(state, run):
        names = ", ".join(METHODS[m].label for m in state.methods if m not in run.spec["methods"])
        notes.append(
            message_card("caution", "The choices changed since this run.", f"Not measured: {names}.", "Run again.")
        )
    if any(r.execution == "eager" for r in results_of(run)):
        notes.append(
            message_card(
                "info",
                "PyTorch ran eager here.",
                "torchao's kernels need torch.compile to show their speed.",
                "For compiled times: workbench quantize … --compile on.",
            )
        )
    return notes


def _empty_view(state: QuantizationState, runs: Sequence[Run]) -> View:
    sub = f"{escape(Path(state.model).name)} has not been measured on the chosen hardware"
    answer = message_card(
        "info",
        "No run yet.",
        "Nothing was measured for this model and hardware.",
        "Press Run, or choose hardware with stored runs.",
    )
    return View(
        header=_header(sub),
        answer=answer,
        figures=(),
        table="",
        batches=[],
        run_id=None,
        tabs=(
            code_block(launch_command(state, None)),
            code_block(state.spec(n_windows=64).as_code()),
            _history(runs, None),
            "<p>Nothing to compare.</p>",
        ),
    )


def _estimate_view(state: QuantizationState, runs: Sequence[Run]) -> View:
    device = devices()[state.hardware.removeprefix("catalog:")]
    tabs = (
        code_block(launch_command(state, None)),
        code_block(state.spec(n_windows=64).as_code()),
        _history(runs, None),
        "<p>Nothing to compare.</p>",
    )
    try:
        rows = estimated_rows(model_spec_from(state.model), device.id, state.methods)
    except WorkbenchError as error:
        answer = message_card("failure", "No estimate.", error.cause, error.remedy)
        return View(
            header=_header(escape(device.name)), answer=answer, figures=(), table="", tabs=tabs, batches=[], run_id=None
        )
    cells = []
    for label, stored, floor_s in rows:
        usd = usd_per_million_output_tokens(
            state.usd_per_hour, decode_s=floor_s, batch=1, utilisation_fraction=state.utilisation_fraction
        )
        fits = "fits" if device.memory_bytes and stored < device.memory_bytes else "does not fit"
        cells.append((label, shown_bytes(stored), fits, shown_duration(floor_s), shown_usd(usd)))
    answer = message_card(
        "caution",
        "Estimated, not measured.",
        f"Least time per token on {device.name}: every weight read once at {three_digits(device.bandwidth_bytes_per_s / 1e12)} TB/s (published: {device.source}). Real steps take longer.",
        "Run `workbench quantize` on such a machine and import the run.",
    )
    head = (
        f"Method {ESTIMATED}",
        f"weights {ESTIMATED}",
        "on this device",
        f"least step time at batch 1 {ESTIMATED}",
        f"USD / M tokens at least {ESTIMATED}",
    )
    return View(
        header=_header(f"{ESTIMATED} estimated · {escape(Path(state.model).name)} on {escape(device.name)}"),
        answer=answer,
        figures=(),
        table=table(head, cells),
        tabs=tabs,
        batches=[],
        run_id=None,
    )


def _history(runs: Sequence[Run], shown: Run | None) -> str:
    if not runs:
        return "<p>No runs yet.</p>"
    rows = []
    for run in runs[:12]:
        mark = "▸ " if shown and run.id == shown.id else ""
        n = sum(r["status"] == "measured" for r in run.results)
        rows.append(
            (
                mark + escape(run_label(run)),
                str(n),
                escape(run.environment.packages.get("torch", "–")),
                escape(run.environment.git_revision or "–"),
            )
        )
    return table(("Run", "methods measured", "torch", "workbench revision"), rows)


def _comparison(run: Run, other: Run | None, batch: int) -> str:
    if other is None or other.id == run.id:
        return "<p>Choose a second run to see it beside the one shown.</p>"
    before = {r.method: r for r in results_of(other)}
    rows = []
    for r in results_of(run):
        old = before.get(r.method)
        new_time, old_time = r.decode_at(batch), old.decode_at(batch) if old else None
        if not new_time or not old_time or not old:
            continue
        same = new_time.p50_low_s <= old_time.p50_high_s and old_time.p50_low_s <= new_time.p50_high_s
        kls = [three_digits(x.mean_kl_nat_per_token.value) if x.mean_kl_nat_per_token else "–" for x in (r, old)]
        rows.append(
            (
                escape(METHODS[r.method].label),
                shown_duration(new_time.p50_s),
                shown_duration(old_time.p50_s),
                f"{old_time.p50_s / new_time.p50_s:.2f}×",
                "intervals overlap" if same else "differs",
                *kls,
            )
        )
    if not rows:
        return "<p>The two runs have no method and batch size in common.</p>"
    head = ("Method", "step, this run", "step, other run", "ratio", "95 % intervals", "KL, this run", "KL, other run")
    return f"<p>Beside it: {escape(run_label(other))}</p>" + table(head, rows)


def static_page_body(state: QuantizationState, runs: Sequence[Run], *, here: Device) -> str:
    """The answer for a report: verdict, plots, table, what-if controls and provenance."""
    view = draw(state, runs, here=here)
    run = next((r for r in runs if r.id == view.run_id), None)
    figures = "".join(figure_div(make()) for make in view.figures)
    controls, provenance = "", ""
    if run is not None:
        batch = state.batch if state.batch in view.batches else view.batches[0]
        source = price_suggestion(state.hardware, run.environment.device)[1]
        controls = what_if(
            what_if_rows(run),
            usd_per_hour=state.usd_per_hour,
            price_source=source,
            utilisation_fraction=state.utilisation_fraction,
            batch=batch,
        )
        provenance = origin(run)
    return (
        f"<div class='wb'>{view.header}{view.answer}<div class='wb-figures'>{figures}</div>{view.table}<p class='wb-legend'>{LEGEND}</p></div>"
        f"{controls}<div class='wb'><h2>What to do with it</h2>{view.tabs[0]}{view.tabs[1]}{provenance}</div>"
    )


def csv_rows(run: Run) -> list[dict[str, Any]]:
    """One row a method."""
    return [{k: v for k, v in row.items() if k != "decode"} for row in run.results]
