"""The panel of question 2, whether a lower precision pays off on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import ipywidgets as widgets
from markupsafe import Markup

from workbench.catalog.models import is_only_a_shape, model_spec_from
from workbench.catalog.tables import claims, devices
from workbench.compress.methods import METHODS, shown_reason, unavailable_reason
from workbench.compress.rows import VariantResult
from workbench.compress.spec import QuantizationSpec
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.units import three_digits
from workbench.interface.choices import price_suggestion
from workbench.interface.html import code_block, joined, message_card, note, paragraph, table, verdict_card
from workbench.interface.job_panel import POLL_S
from workbench.interface.knobs import command_line
from workbench.interface.panel import html, set_html
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.report.page import WhatIfRow, what_if
from workbench.interface.view import AnswerView
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.questions.quantization.figures import accuracy_against_speed, claimed_and_measured
from workbench.questions.quantization.findings import (
    KL_LIMITS,
    batches_of,
    claim_points,
    left_out_text,
    may_be_taken,
    subject_of,
    usd_by_method,
    verdict,
)
from workbench.questions.quantization.findings.table_rows import (
    COMPARISON_HEAD,
    ESTIMATE_HEAD,
    HISTORY_HEAD,
    comparison_rows,
    estimated_rows,
    history_rows,
)
from workbench.questions.quantization.panel.method_table import method_cells, method_head
from workbench.questions.quantization.panel.state import QuantizationState
from workbench.telemetry.devices import cpu_device, gpu_devices

QUESTION = 2
HERE, STORED, CATALOG = "this:", "stored:", "catalog:"


class QuantizationPanel(QuestionPanel):
    """Controls at the left, the answer at the right; the job lives outside the notebook."""

    title = gettext("Does a lower precision pay on this machine?")
    spec_class, state_class = QuantizationSpec, QuantizationState
    hidden = frozenset({"device", "random_weights"})  # they follow from the hardware and from the model
    first = ("model", "hardware", "methods", "text")
    css_class = "wb-quantization"
    tab_titles = (gettext("Launch command"), gettext("History"))

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S, **start: Any) -> None:
        self.cpu, gpus = cpu_device(), gpu_devices()[0]
        self.gpu = gpus[0] if gpus else None
        self.price_source = html()
        hardware = start.setdefault("hardware", HERE + ("cuda" if self.gpu else "cpu"))
        start.setdefault("usd_per_hour", self._price(hardware)[0])
        super().__init__(manager, poll_s=poll_s, **start)

    # --- choices ------------------------------------------------------------------------------------------------

    @property
    def _devices(self) -> list[Device]:
        """GPU and CPU of this machine."""
        return [self.cpu] if self.gpu is None else [self.gpu, self.cpu]

    def _device(self, hardware: str) -> Device:
        """Return the device of this machine that a choice of hardware names."""
        return self.gpu if hardware == HERE + "cuda" and self.gpu else self.cpu

    def _device_name(self, hardware: str) -> str:
        return hardware.removeprefix(STORED) if hardware.startswith(STORED) else self._device(hardware).name

    def _price(self, hardware: str) -> tuple[float, str]:
        name = hardware.removeprefix(STORED) if hardware.startswith(STORED) else self._devices[0].name
        return price_suggestion(hardware, name)

    def _price_source(self) -> str:
        """Return where the price of the shown run's machine comes from; of the chosen hardware without a run."""
        run = self.run
        return price_suggestion("", run.environment.device)[1] if run else self._price(self.state.hardware)[1]

    @property
    def asked(self) -> QuantizationSpec:
        """The values of the controls, which may not go together."""
        return QuantizationSpec.stored(self.state.asked)

    @property
    def plan(self) -> QuantizationSpec:
        """The measurement that the choices ask for."""
        device: Literal["cpu", "cuda"] = "cuda" if self.state.hardware == HERE + "cuda" else "cpu"
        is_shape = is_only_a_shape(self.asked.model)
        return QuantizationSpec(**self.state.asked, device=device, random_weights=is_shape)

    def first_state(self, state: QuantizationState) -> QuantizationState:
        """Return the state with the methods that run here and the newest run of this model and machine."""
        return self._with_methods(self._with_newest_run(state))

    def settled(self, state: QuantizationState, changes: Mapping[str, object]) -> QuantizationState:
        """Return the state with the price, the methods, the run and the batch size that go with a change."""
        run = next((r for r in self.runs if r.id == changes.get("run_id")), None)
        if run is not None and state.hardware.startswith(CATALOG):  # a run is no estimate
            name = run.environment.device
            here = next((HERE + d.kind for d in self._devices if d.name == name), STORED + name)
            state = replace(state, hardware=here)
        if state.hardware != self.state.hardware:
            state = self._with_methods(replace(state, usd_per_hour=self._price(state.hardware)[0]))
        if run is not None:  # the price of the machine that the run is from, whatever machine this is
            state = replace(state, usd_per_hour=price_suggestion("", run.environment.device)[0])
        if {"hardware", "model"} & set(changes):
            state = self._with_newest_run(state)
        return self._with_batch(state)

    def _with_methods(self, state: QuantizationState) -> QuantizationState:
        possible = [m for m in METHODS if unavailable_reason(m, self._device(state.hardware)) is None]
        methods = [m for m in QuantizationSpec.stored(state.asked).methods if m in possible] or possible
        return replace(state, asked={**state.asked, "methods": tuple(methods)})

    def _with_newest_run(self, state: QuantizationState) -> QuantizationState:
        subject = self._device_name(state.hardware), Path(QuantizationSpec.stored(state.asked).model).name
        runs = [r for r in self.runs if (r.environment.device, Path(r.model or "").name) == subject]
        is_shown = runs and not state.hardware.startswith(CATALOG)
        return self._with_batch(replace(state, run_id=runs[0].id if is_shown else None))

    def _with_batch(self, state: QuantizationState) -> QuantizationState:
        batches = self._batches(state.run_id)
        return state if state.batch in batches else replace(state, batch=batches[0])

    def _batches(self, run_id: str | None) -> list[int]:
        return batches_of(next((r for r in self.runs if r.id == run_id), None)) or [1]

    def choices(self) -> Mapping[str, list[Any]]:
        """Return the machines and devices there are, the batch sizes of the shown run, and the runs to compare with."""
        stored = sorted({r.environment.device for r in self.runs} - {d.name for d in self._devices})
        known = [d for d in devices().values() if d.memory_bytes]
        return {
            "hardware": [
                *((gettext("this machine · {device}").format(device=d.name), HERE + d.kind) for d in self._devices),
                *((gettext("{device} · stored runs").format(device=name), STORED + name) for name in stored),
                *((gettext("{device} · estimate").format(device=d.name), CATALOG + d.id) for d in known),
            ],
            "batch": [(str(b), b) for b in self._batches(self.state.run_id)],
        }

    def unavailable(self) -> Mapping[str, Mapping[str, str]]:
        """Return the methods that this machine cannot run, with the reason."""
        if not self.state.hardware.startswith(HERE):
            return {}
        reasons = {m: unavailable_reason(m, self._device(self.state.hardware)) for m in METHODS}
        return {"methods": {m: shown_reason(reason) for m, reason in reasons.items() if reason}}

    def beside_controls(self) -> Mapping[str, widgets.Widget]:
        """Return where the price comes from."""
        return {"usd_per_hour": self.price_source}

    def show_controls(self) -> None:
        """Set the controls, what each method is, the source of the price, and whether the hardware can be measured."""
        super().show_controls()
        for method, button in self.controls["methods"].buttons.items():
            button.tooltip = button.tooltip or METHODS[method].note
        set_html(self.price_source, note(self._price_source()))
        self.job_bar.allow_run(self.state.hardware.startswith(HERE))

    # --- jobs ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise ``NotAModel`` where there is no model, before a job is started."""
        model_spec_from(self.asked.model)

    def attached(self, view: JobView) -> None:
        """Choose the methods that the running job measures."""
        self.update(methods=QuantizationSpec.stored(view.spec).methods)

    def finished(self, view: JobView) -> None:
        """Show the new run, and compare it with the one that was shown before."""
        before = self.state.run_id
        super().finished(view)
        self.update(compared_ids=() if before is None else (before,))

    # --- answer -------------------------------------------------------------------------------------------------

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        state, run = self.state, self.run
        if state.hardware.startswith(CATALOG):
            return self._estimate()
        if run is None:
            return self._without_run()
        answer = verdict(run, kl_limit=KL_LIMITS[state.limit], batch=state.batch)
        points, baseline = claim_points(run, state.batch)
        speedups = [c for c in claims() if c.question == QUESTION and c.metric == "speedup"]
        return AnswerView(
            about=subject_of(run),
            answer=joined(*self._notes(run), verdict_card(answer, is_stale=bool(self._unmeasured(run)))),
            figures=(
                lambda: accuracy_against_speed(run.rows(VariantResult), batch=state.batch, best=answer.best),
                lambda: claimed_and_measured(points, speedups, baseline=baseline, batch=state.batch),
            ),
            table=self._method_table(run, answer.best),
            tabs=(
                code_block(launch_command(self.asked.model, answer.best or "bf16")),
                lambda: table(HISTORY_HEAD, history_rows(self.runs, run.id)),
            ),
            run=run,
        )

    def _unmeasured(self, run: Run) -> list[str]:
        """Return the methods that are chosen for this machine and that a run did not measure."""
        if self.state.asked == self._first.asked:  # nothing was chosen since the panel opened
            return []
        is_here, measured = self.state.hardware.startswith(HERE), run.asked(QuantizationSpec).methods
        return [METHODS[m].label for m in self.asked.methods if is_here and m not in measured]

    def _notes(self, run: Run) -> list[Markup]:
        notes, device = [], run.environment.device
        if self.state.hardware.startswith(HERE) and device != self._device_name(self.state.hardware):
            notes.append(
                message_card(
                    "info",
                    gettext("The shown run is from another machine."),
                    device,
                    gettext("Press Run to measure this machine."),
                )
            )
        elif names := self._unmeasured(run):
            cause = gettext("Not measured: {methods}.").format(methods=", ".join(names))
            notes.append(
                message_card(
                    "caution",
                    gettext("The chosen methods changed since this run."),
                    cause,
                    gettext("Press Run to measure them."),
                )
            )
        if any(r.execution == "eager" for r in run.rows(VariantResult)):
            cause = gettext("torchao's kernels need torch.compile to reach their speed.")
            remedy = gettext("Set torch.compile to on to measure compiled times.")
            notes.append(message_card("info", gettext("PyTorch ran without torch.compile in this run."), cause, remedy))
        return notes

    def _method_table(self, run: Run, best: str | None) -> Markup:
        """Return one row for each method with provenance marks, and the reason where it did not run."""
        state, results = self.state, run.rows(VariantResult)
        usd = usd_by_method(
            run, usd_per_hour=state.usd_per_hour, utilization_fraction=state.utilization_fraction, batch=state.batch
        )
        cells = [method_cells(r, batch=state.batch, usd_per_million=usd.get(r.method)) for r in results]
        highlighted = next((i for i, r in enumerate(results) if r.method == best and r.status == "measured"), None)
        return table(method_head(state.batch), cells, highlighted=highlighted)

    def compared(self, runs: Sequence[Run]) -> Markup:
        """Return each method that two runs have in common, then all differences."""
        shown, *others = runs
        tables = (
            joined(
                paragraph(gettext("Compared run: {run}").format(run=self.run_label(other))),
                table(COMPARISON_HEAD, rows),
            )
            for other in others
            if (rows := comparison_rows(shown, other, self.state.batch))
        )
        return joined(*tables, super().compared(runs))

    def _without_run(self) -> AnswerView:
        model = self.asked.model
        cause = gettext("{model} has not been measured on the chosen hardware.").format(model=Path(model).name)
        remedy = gettext("Press Run, or choose hardware with stored runs.")
        return AnswerView(
            answer=message_card("info", gettext("No run yet."), cause, remedy),
            tabs=(
                code_block(launch_command(model, "bf16")),
                table(HISTORY_HEAD, history_rows(self.runs, "")),
            ),
        )

    def _estimate(self) -> AnswerView:
        state, device = self.state, devices()[self.state.hardware.removeprefix(CATALOG)]
        try:
            rows = estimated_rows(
                model_spec_from(self.asked.model),
                device,
                self.asked.methods,
                usd_per_hour=state.usd_per_hour,
                utilization_fraction=state.utilization_fraction,
            )
        except WorkbenchError as error:
            return replace(self._without_run(), answer=self.no_answer(error).answer)
        cause = gettext(
            "Least time per token on {device}: every weight read once at {bandwidth} TB/s (published: "
            "{source}). Real steps take longer."
        ).format(device=device.name, bandwidth=three_digits(device.bandwidth_bytes_per_s / 1e12), source=device.source)
        remedy = gettext("Run `workbench quantize` on such a machine and import the run.")
        return replace(
            self._without_run(),
            about=gettext("{model} on {device}").format(model=Path(self.asked.model).name, device=device.name),
            provenance=Provenance.ESTIMATED,
            answer=message_card("caution", gettext("These values are estimated, not measured."), cause, remedy),
            table=table(ESTIMATE_HEAD, rows),
        )

    def static_controls(self, view: AnswerView) -> Markup:
        """Return the price of a million tokens with controls that work without a kernel."""
        if view.run is None:
            return Markup("")
        results, limit = view.run.rows(VariantResult), KL_LIMITS[self.state.limit]
        rows = [
            WhatIfRow(label=METHODS[r.method].label, decode_s={d.batch: d.p50_s for d in r.decode})
            for r in may_be_taken(results, kl_limit=limit)
        ]
        return what_if(
            rows,
            basis=f"{gettext('Estimated from measured step times.')} {left_out_text(results, kl_limit=limit)}",
            usd_per_hour=self.state.usd_per_hour,
            price_source=self._price_source(),
            utilization_fraction=self.state.utilization_fraction,
            batch=self.state.batch,
        )


def launch_command(model: str, method: str) -> str:
    """Return the command that serves a model with a method; for ONNX Runtime, the one that measures it again."""
    chosen = METHODS[method]
    if chosen.runtime == "onnxruntime":
        again = QuantizationSpec(model=model, methods=(method,), device="cpu")
        return (
            f"{command_line(again.command, again)} --json\n"
            f"# The FP32 graph can be served: workbench serve {model} --engine onnx"
        )
    return f"vllm serve {model} {chosen.vllm_flag or METHODS['bf16'].vllm_flag} --max-model-len 8192"
