"""The panel that says which serving engine fits a load."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup

from workbench.catalog.models import is_only_a_shape, model_spec_from
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.knobs import knob
from workbench.core.language import gettext
from workbench.core.rows import Json
from workbench.core.runs import Run
from workbench.engines import environments
from workbench.interface.choices import DEFAULT_CPU_USD_PER_HOUR, price_suggestion
from workbench.interface.html import code_block, heading, joined, message_card, paragraph, table, verdict_card
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.jobs.directory import JobView
from workbench.load.messages import FinishedRequest
from workbench.questions.engines import findings
from workbench.questions.engines.figures import attainment_by_rate, latency_by_rate, requests_as_they_happen
from workbench.questions.engines.findings import known, launch
from workbench.questions.engines.rows import EngineResult, LiveTrial, csv_rows
from workbench.questions.engines.spec import EngineSweepSpec, engine_label
from workbench.telemetry.devices import chosen_device


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginesState(PanelState):
    """What is shown of a sweep."""

    usd_per_hour: float = knob(
        DEFAULT_CPU_USD_PER_HOUR,
        "Price of the machine",
        "Price of the machine that is shown, from which the cost of good tokens is estimated.",
        unit="USD/h",
        low=1e-4,
        high=1e4,
    )


class EnginesPanel(QuestionPanel):
    """Run loads each engine at growing rates; a changed SLO is answered from the stored requests."""

    title = gettext("Which serving engine fits my load?")
    spec_class, state_class = EngineSweepSpec, EnginesState
    css_class = "wb-engines"
    tab_titles = (gettext("Launch commands"), gettext("Engines"))

    @cached_property
    def here(self) -> Device:
        """The device of this machine."""
        return chosen_device("auto")

    @cached_property
    def _missing(self) -> dict[str, str]:
        """Engines that cannot be started here, with the reason."""
        missing = {}
        for engine in environments.INSTALLABLE:
            try:
                if environments.find(engine, device=self.here.kind) is None:
                    missing[engine] = gettext("not installed: workbench engines install {engine}").format(engine=engine)
            except WorkbenchError as error:
                missing[engine] = str(error)
        return missing if self.here.kind == "cpu" else missing | {"onnx": gettext("runs on the CPU only")}

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the engines that cannot be started here."""
        return {"engines": self._missing}

    def first_state(self, state: EnginesState) -> EnginesState:
        """Return the state with the engines that can be started here."""
        engines = tuple(e for e in _asked(state).engines if e not in self._missing)
        return self.settled(replace(state, asked={**state.asked, "engines": engines}), {"model": ""})

    def settled(self, state: EnginesState, changes: Mapping[str, Any]) -> EnginesState:
        """Return the state with the newest run of a model that was chosen, and the price of the machine that is shown."""
        if "model" in changes:
            model = _asked(state).model
            run_id = next((r.id for r in self.runs if Path(r.model or "").name == Path(model).name), None)
            asked = {**state.asked, "random_weights": is_only_a_shape(model)}
            state = replace(state, asked=asked, run_id=run_id)
        if changes.keys() & {"model", "run_id"}:
            run = next((r for r in self.runs if r.id == state.run_id), None)
            price, _ = price_suggestion("", run.environment.device if run else self.here.name)
            state = replace(state, usd_per_hour=price)
        return state

    def check(self) -> None:
        """Raise where the model is none, before servers are started."""
        model_spec_from(_asked(self.state).model)

    def attached(self, view: JobView) -> None:
        """Choose the engines that the running job measures."""
        self.update(engines=EngineSweepSpec.stored(view.spec).engines)

    @cached_property
    def _points(self) -> dict[tuple[str, str], dict[int, FinishedRequest]]:
        """Requests that have ended, by job and trial, and by their place in it."""
        return {}

    def live_figure(self, view: JobView) -> go.Figure | None:
        """Return the requests of the trial that goes on, when more of them have ended."""
        live = view.partial(LiveTrial)
        if live is None:
            return None
        title = gettext("{engine} at {rate} requests/s").format(
            engine=engine_label(live.engine), rate=f"{live.rate_per_s:.3g}"
        )
        points = self._points.setdefault((view.id, title), {})
        n_before = len(points)
        points.update({p.index: p for p in live.load.finished})
        if len(points) == n_before:
            return None
        return requests_as_they_happen(list(points.values()), title=title, ttft_s=_asked(self.state).slo_ttft_s)

    def csv_rows(self, run: Run) -> list[dict[str, Json]]:
        """Return a row for each engine and rate."""
        return csv_rows(run)

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, asked = self.run, _asked(self.state)
        features = table(known.FEATURE_HEAD, known.feature_rows(), left=range(2, len(known.FEATURE_HEAD)))
        if run is None:
            card = message_card(
                "info",
                gettext("No run yet."),
                gettext("No engine was measured with {model}.").format(model=asked.model),
                self.duration,
            )
            nothing = paragraph(gettext("No launch command yet: run a measurement first."))
            nothing_yet = paragraph(gettext("Nothing was measured with this model yet."))
            return AnswerView(answer=card, table=joined(nothing_yet, _published()), tabs=(nothing, features))
        slo = findings.slo_of(asked)
        results = findings.results_under(run, slo)
        answer, labels = findings.verdict(results, slo), {r.engine: engine_label(r.engine) for r in results}
        best = next((i for i, r in enumerate(results) if r.engine == answer.best), None)
        rows = findings.result_rows(results, slo, usd_per_hour=self.state.usd_per_hour)
        spec = run.asked(EngineSweepSpec)
        lengths = gettext("{n_in} tokens in, {n_out} out").format(n_in=spec.input_tokens, n_out=spec.output_tokens)
        return AnswerView(
            about=gettext(
                "with {model} on {device} ({n_cpus} cores) · {lengths}, Poisson arrivals, {seconds} s per rate · "
                "run {run}, {day}"
            ).format(
                model=Path(spec.model).name,
                device=run.environment.device,
                n_cpus=run.environment.n_cpus,
                lengths=lengths,
                seconds=f"{spec.duration_s:g}",
                run=run.id,
                day=run.day,
            ),
            answer=joined(self._notes(run, lengths), verdict_card(answer)),
            figures=(
                lambda: attainment_by_rate(
                    results, labels=labels, attainment_fraction=slo.attainment_fraction, best=answer.best
                ),
                lambda: latency_by_rate(results, labels=labels, ttft_s=slo.ttft_s),
            ),
            table=joined(table(findings.RESULT_HEAD, rows, highlighted=best), _published()),
            tabs=(lambda: _launch(run), features),
            run=run,
        )

    def _notes(self, run: Run, lengths: str) -> Markup:
        notes = []
        if run.environment.device != self.here.name:
            title = gettext("A run from another machine is shown.")
            notes.append(message_card("info", title, run.environment.device, gettext("Press Run to measure yours.")))
        spec, asked = run.asked(EngineSweepSpec), _asked(self.state)
        if (spec.input_tokens, spec.output_tokens) != (asked.input_tokens, asked.output_tokens):
            title, remedy = (
                gettext("The lengths changed since this run."),
                gettext("Run again. The SLO may be changed without a new run."),
            )
            notes.append(
                message_card("caution", title, gettext("Measured with {lengths}.").format(lengths=lengths), remedy)
            )
        title = gettext("A figure may not mean what it seems to.")
        notes += [message_card("caution", title, text, "") for text in findings.warning_texts(run.rows(EngineResult))]
        return joined(*notes)


def _asked(state: EnginesState) -> EngineSweepSpec:
    """Return the values of the controls, which need not make a spec that can be measured."""
    return EngineSweepSpec.stored(state.asked)


def _published() -> Markup:
    return joined(
        heading(gettext("Published figures of engines that were not started here")),
        paragraph(
            gettext(
                "Other load and other versions than above: not to be compared line by line. None is known for SGLang."
            )
        ),
        table(known.PUBLISHED_HEAD, known.published_rows(), left=(2, 3)),
    )


def _launch(run: Run) -> Markup:
    others = launch.other_launch_commands(run)
    intro = paragraph(gettext("Engines that were not measured here; start one, then measure it by its URL."))
    return joined(code_block(launch.launch_commands(run)), *((intro, code_block(others)) if others else ()))
