"""The engine question's answer: HTML and figures from the choices and the stored sweeps; live and in reports."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from workbench.catalog.models import is_only_a_shape
from workbench.catalog.paths import MEASURED as MEASURED_FOLDER
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.catalog.tables import claims, devices, engines, published_figures
from workbench.core.engine_sweep import Candidate, EngineSweepSpec, engine_label
from workbench.core.errors import NotAvailable
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.serving import ServePlan
from workbench.core.units import shown_bytes, shown_duration, shown_usd, three_digits
from workbench.engines.recipes import MAKERS, launch_recipe
from workbench.experiments.engine_verdict import (
    EngineVerdict,
    Promise,
    engine_verdict,
    good_tokens_per_s,
    results_under,
    usd_per_million_good_tokens,
)
from workbench.export.page import figure_div
from workbench.figures.engines import attainment_by_rate, latency_by_rate
from workbench.figures.tables import ESTIMATED, LEGEND, MEASURED, message_card, table, verdict_card
from workbench.panels.choices import DEFAULT_CPU_USD_PER_HOUR
from workbench.panels.shared_view import code_block, runs_of_kind
from workbench.store.runs import RunStore

TITLE = "Which serving engine fits my load?"
KIND = "engine_sweep"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesState:
    """Everything that the view is drawn from."""

    model: str = REFERENCE_MODEL_PLACE
    engines: tuple[str, ...] = ("vllm", "torch", "onnx")
    also: str = ""
    """Further candidates, separated by commas: URLs of servers, or an engine with settings."""
    input_tokens: int = 128
    output_tokens: int = 64
    slo_ttft_ms: float = 500.0
    slo_tpot_ms: float = 50.0
    attainment_fraction: float = 0.9
    usd_per_hour: float = DEFAULT_CPU_USD_PER_HOUR
    run_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @property
    def promise(self) -> Promise:
        """What users are promised."""
        return Promise(
            ttft_s=self.slo_ttft_ms / 1e3, tpot_s=self.slo_tpot_ms / 1e3, attainment_fraction=self.attainment_fraction
        )

    def spec(self) -> EngineSweepSpec:
        """The measurement that these choices ask for."""
        promise = self.promise
        return EngineSweepSpec(
            model=self.model,
            engines=(*self.engines, *(text.strip() for text in self.also.split(",") if text.strip())),
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            slo_ttft_s=promise.ttft_s,
            slo_tpot_s=promise.tpot_s,
            attainment_fraction=promise.attainment_fraction,
            random_weights=is_only_a_shape(self.model),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesView:
    """What is shown. ``tabs``: launch commands, spec as code, history, feature table."""

    header: str
    answer: str
    figures: tuple[Callable[[], go.Figure], ...]
    table: str
    tabs: tuple[str, str, str, str]
    run: Run | None


def known_sweeps(store: RunStore) -> list[Run]:
    """Own sweeps and those that ship with the workbench, newest first."""
    return runs_of_kind(KIND, store=store, shipped=MEASURED_FOLDER)


def sweep_label(run: Run) -> str:
    """Model, device, time and id of a run."""
    when = run.finished_at[:16].replace("T", " ")
    return f"{Path(run.spec['model']).name} · {run.environment.device} · {when} · {run.id}"


def shown_run(state: EnginesState, runs: Sequence[Run]) -> Run | None:
    """The run that was chosen, or the newest of the model."""
    same = [r for r in runs if Path(r.spec["model"]).name == Path(state.model).name]
    return next((r for r in runs if r.id == state.run_id), same[0] if same else None)


def draw(state: EnginesState, runs: Sequence[Run], *, here: str) -> EnginesView:
    """The view of a state; ``here`` is the name of this machine's device."""
    run = shown_run(state, runs)
    if run is None:
        return _empty(state, runs)
    results = results_under(run, state.promise)
    labels = {r.engine: engine_label(r.engine) for r in results}
    answer = engine_verdict(run, state.promise)
    promise = state.promise
    order = "Nothing here keeps the promise."
    if answer.best:
        order = f"Measured order here starts with {engine_label(answer.best)}."
    return EnginesView(
        header=_header(run),
        answer=_notes(state, run, here) + _card(answer),
        figures=(
            lambda: attainment_by_rate(
                results, labels=labels, attainment_fraction=promise.attainment_fraction, best=answer.best
            ),
            lambda: latency_by_rate(results, labels=labels, ttft_s=promise.ttft_s),
        ),
        table=_table(run, state, answer.best) + _claims(order),
        tabs=(
            _launch(run),
            code_block(EngineSweepSpec.from_dict(run.spec).as_code()),
            _history(runs, run),
            _features(),
        ),
        run=run,
    )


def _card(answer: EngineVerdict) -> str:
    return verdict_card(answer.headline, answer.evidence, answer.objection, is_stale=False)


def _header(run: Run) -> str:
    spec, env = run.spec, run.environment
    sub = (
        f"● measured · {escape(Path(spec['model']).name)} on {escape(env.device)} ({env.n_cpus} cores) · "
        f"{spec['input_tokens']} tokens in, {spec['output_tokens']} out, Poisson arrivals, {spec['duration_s']:g} s a rate · "
        f"run {run.id}, {run.day}"
    )
    return f"<h2>{TITLE}</h2><p class='sub'>{sub}</p>"


def _notes(state: EnginesState, run: Run, here: str) -> str:
    notes = ""
    if run.environment.device != here:
        notes += message_card(
            "info", "A run from another machine is shown.", run.environment.device, "Press Run to measure yours."
        )
    lengths = (run.spec["input_tokens"], run.spec["output_tokens"])
    if lengths != (state.input_tokens, state.output_tokens):
        notes += message_card(
            "caution",
            "The lengths changed since this run.",
            f"Measured with {lengths[0]} tokens in and {lengths[1]} out.",
            "Run again. The promise may be changed without a new run.",
        )
    return notes


def _table(run: Run, state: EnginesState, best: str | None) -> str:
    head = (
        f"Engine {MEASURED}",
        "rate within the promise",
        "requests good there",
        "good tokens/s",
        "TTFT p50 / p99 there",
        "per token p50",
        "starts in",
        "memory",
        f"USD / M good tokens {ESTIMATED}",
    )
    rows: list[tuple[str, ...]] = []
    highlighted = None
    for r in results_under(run, state.promise):
        label = f"{escape(engine_label(r.engine))}<br><small>{escape(r.version or '')}</small>"
        if r.status != "measured":
            rows.append((label, f"{r.status}: {escape(r.reason or '')}"))
            continue
        trial = r.best(state.attainment_fraction)
        tail = (
            shown_duration(r.startup_s) if r.startup_s else "–",
            shown_bytes(r.memory_bytes) if r.memory_bytes else "–",
        )
        if trial is None:
            rows.append((label, "none", "–", "–", "–", "–", *tail, "–"))
            continue
        if r.engine == best:
            highlighted = len(rows)
        low, high = trial.attainment_interval
        usd = usd_per_million_good_tokens(trial, usd_per_hour=state.usd_per_hour)
        p99 = shown_duration(trial.ttft_p99_s) if trial.ttft_p99_s else "–"
        top = "at least " if trial.rate_per_s == max(t.rate_per_s for t in r.trials) else ""
        rows.append(
            (
                label,
                f"{top}{three_digits(trial.rate_per_s)}/s",
                f"{trial.attainment_fraction:.0%} <small>[{low:.0%}, {high:.0%}] of {trial.n_requests}</small>",
                three_digits(good_tokens_per_s(trial)),
                f"{shown_duration(trial.ttft_p50_s or 0)} / {p99}",
                shown_duration(trial.tpot_p50_s or 0),
                *tail,
                shown_usd(usd) if usd is not None else "–",
            )
        )
    return table(head, rows, highlighted=highlighted)


def _claims(measured: str) -> str:
    rows = [
        (
            escape(c.technique),
            f"{Provenance.PUBLISHED.mark} {escape(c.condition)} <small>({escape(c.source)}, {escape(c.date)})</small>",
        )
        for c in claims()
        if c.question == 1
    ]
    return (
        f"<h2>What the FAQ recommends</h2><p>{measured}</p>"
        + table(("Engine", "Published strength"), rows, left=(1,))
        + _published()
    )


def _published() -> str:
    names = {e.id: e.name for e in engines()}
    rows = [
        (
            escape(names[f.engine]),
            f"{Provenance.PUBLISHED.mark} {three_digits(f.value)} {escape(f.unit)}",
            f"{escape(f.model)}, {escape(devices()[f.device_id].name)}, {escape(f.condition)} "
            f"<small>({escape(f.source)}, {escape(f.date)})</small>",
        )
        for f in published_figures()
    ]
    intro = (
        "<p>Other load and other versions than above: not to be compared line by line. None is known for SGLang.</p>"
    )
    return (
        "<h2>Published figures of engines that were not started here</h2>"
        + intro
        + table(("Engine", "Published", "Under"), rows, left=(2,))
    )


def _launch(run: Run) -> str:
    lines = []
    random = " --random-weights" if run.spec.get("random_weights") else ""
    for r in run.results:
        candidate = Candidate.read(r["engine"])
        lines.append(f"# {candidate.label}")
        if candidate.url:
            lines[-1] += f"\nworkbench load {candidate.url} --rate 10"
            continue
        settings = f" -- {' '.join(candidate.extra)}" if candidate.extra else ""
        lines[-1] += f"\nworkbench serve {run.spec['model']} --engine {candidate.engine}{random}{settings}"
        if candidate.engine in {"vllm", "lmdeploy"} and r.get("launch"):
            lines[-1] += f"\n# which starts, in the engine's own environment\n{r['launch']}"
    started = {Candidate.read(r["engine"]).engine for r in run.results}
    plan = ServePlan(model=run.spec["model"], n_gpus=0 if run.environment.device_id.startswith("cpu") else 1)
    return code_block("\n\n".join(lines)) + _others(plan, started)


def _others(plan: ServePlan, measured: Collection[str]) -> str:
    """Commands for the engines that were not measured, each saying whether it was ever started here."""
    known = {e.id: e for e in engines()}
    lines = []
    for name in [n for n in MAKERS if n not in measured]:
        head = f"# {known[name].name}: {known[name].started}"
        try:
            lines.append(f"{head}\n{launch_recipe(name, plan).text}")
        except NotAvailable as error:
            lines.append(f"{head}; {error.cause}")
    intro = "<p>Engines that were not measured here; start one, then measure it by its URL.</p>"
    return intro + code_block("\n\n".join(lines)) if lines else ""


def _history(runs: Sequence[Run], shown: Run) -> str:
    rows = [
        (("▸ " if r.id == shown.id else "") + escape(sweep_label(r)), escape(r.environment.git_revision or "–"))
        for r in runs[:12]
    ]
    return table(("Run", "workbench revision"), rows)


def _features() -> str:
    rows = [
        tuple(
            escape(cell)
            for cell in (
                e.name, e.tested_version, e.quantization, e.parallelism, e.multimodal, e.hardware, e.started, e.install,
                f"{e.source}, {e.date}",
            )
        )
        for e in engines()
    ]  # fmt: skip
    head = ("Engine", "version", "quantization", "parallelism", "multimodal", "hardware", "started", "get it", "source")
    return table(head, rows, left=tuple(range(2, len(head))))


def _empty(state: EnginesState, runs: Sequence[Run]) -> EnginesView:
    header = f"<h2>{TITLE}</h2><p class='sub'>{escape(Path(state.model).name)} has not been measured yet</p>"
    answer = message_card("info", "No run yet.", "No engine was measured with this model.", "Press Run.")
    history = table(("Run",), [(escape(sweep_label(r)),) for r in runs]) if runs else "<p>No runs yet.</p>"
    command = code_block(f"workbench engines compare {state.model}")
    return EnginesView(
        header=header,
        answer=answer,
        figures=(),
        table=_claims("Nothing was measured with this model yet."),
        tabs=(command, code_block(state.spec().as_code()), history, _features()),
        run=None,
    )


def csv_rows(run: Run) -> list[dict[str, Any]]:
    """One row for each engine and rate."""
    return [
        {
            "engine": r["engine"],
            "version": r["version"],
            "startup_s": r["startup_s"],
            "memory_bytes": r["memory_bytes"],
            **t,
        }
        for r in run.results
        for t in r["trials"]
    ] or [{"engine": r["engine"], "status": r["status"], "reason": r["reason"]} for r in run.results]


def static_page_body(state: EnginesState, runs: Sequence[Run], *, here: str) -> str:
    """The answer for a report."""
    view = draw(state, runs, here=here)
    figures = "".join(figure_div(make()) for make in view.figures)
    origin = ""
    if view.run is not None:
        env = view.run.environment
        packages = ", ".join(f"{k} {v}" for k, v in env.packages.items())
        rows = [
            ("run", f"{view.run.id}, {view.run.started_at} to {view.run.finished_at}, seed {view.run.seed}"),
            ("machine", f"{env.device}; {env.cpu}, {env.n_cpus} cores, {shown_bytes(env.memory_bytes)}"),
            ("packages", packages),
            ("workbench revision", env.git_revision or "not known"),
            ("spec", str(dict(view.run.spec))),
        ]
        origin = "<h2>How these numbers came about</h2>" + table(
            ("What", "Value"), [(k, escape(v)) for k, v in rows], left=(1,)
        )
    return (
        f"<div class='wb'>{view.header}{view.answer}<div class='wb-figures'>{figures}</div>{view.table}"
        f"<p class='wb-legend'>{LEGEND}</p><h2>What to do with it</h2>{view.tabs[0]}{view.tabs[1]}{origin}</div>"
    )
