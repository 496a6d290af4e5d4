"""The panel that shows which compression of a model helps on a small device, and how to run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from workbench.core.knobs import knob
from workbench.core.language import gettext, ngettext
from workbench.core.runs import Run
from workbench.interface.html import heading, joined, paragraph, table, verdict_card
from workbench.interface.job_panel import BEGINS_ANEW
from workbench.interface.question_panel import QuestionPanel
from workbench.interface.view import AnswerView, PanelState
from workbench.questions.edge import findings
from workbench.questions.edge.figures import accuracies, sizes, speed
from workbench.questions.edge.findings.lengths import LENGTHS_HEAD, lengths_rows, lengths_verdict, lengths_words
from workbench.questions.edge.rows import (
    Distillation,
    LengthsResult,
    Limits,
    Setting,
    VariantResult,
    batches_of,
    first_shown,
)
from workbench.questions.edge.spec import EdgeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState(PanelState):
    """Choices of what is shown of a run."""

    batch: str = knob("1", "Batch size shown", "Batch size that the plots and the table show.", choices={"1": "1"})


class EdgePanel(QuestionPanel):
    """Run trains, compresses and measures; the limits choose a setting of a stored run too."""

    title = gettext("What helps on a small device?")
    spec_class, state_class = EdgeSpec, EdgeState
    css_class = "wb-edge"
    n_plots = 3
    cancelled_note = BEGINS_ANEW
    duration = gettext("Press Run; it takes about two minutes.")
    tab_titles = (
        gettext("Settings within limits"),
        gettext("Guarantees and distillation"),
        gettext("Runtimes"),
        gettext("Variable lengths"),
    )

    def first_run_id(self) -> str | None:
        """Return the newest run in which a setting was chosen, or of any."""
        first = first_shown(self.runs)
        return first.id if first else None

    def first_state(self, state: EdgeState) -> EdgeState:
        """Return the state with a batch size of the first run."""
        return self.settled(state, {})

    def settled(self, state: EdgeState, changes: Mapping[str, object]) -> EdgeState:  # noqa: ARG002
        """Return the state with a batch size that the shown run timed."""
        known = [str(b) for b in batches_of(next((r for r in self.runs if r.id == state.run_id), None))]
        return state if state.batch in known else replace(state, batch=known[0])

    def choices(self) -> Mapping[str, list[tuple[str, str]]]:
        """Return the batch sizes that the shown run timed."""
        return {"batch": [(str(b), str(b)) for b in batches_of(self.run)]}

    def view(self) -> AnswerView:
        """Return the answer to the state."""
        run, batch = self.run, int(self.state.batch)
        if run is None or not (variants := run.rows(VariantResult)):
            return self.nothing_measured()
        settings = findings.settings_under(run, Limits.of(EdgeSpec.stored(self.state.asked)))
        threads, is_compared = run.asked(EdgeSpec).threads, any(v.times[batch].speedup for v in variants)
        of_lengths = None if is_compared else lengths_verdict(run.rows(LengthsResult), batch)
        said = of_lengths or findings.verdict(variants, settings, batch)
        return AnswerView(
            about=ngettext(
                "on {cpu}, {threads} thread, run {id}, {day}", "on {cpu}, {threads} threads, run {id}, {day}", threads
            ).format(cpu=run.environment.cpu, threads=threads, id=run.id, day=run.day),
            answer=verdict_card(said),
            figures=(
                *([lambda: speed(variants, batch=batch)] if is_compared else []),
                lambda: sizes(variants),
                *([] if variants[0].accuracy is None else [lambda: accuracies(variants)]),
            ),
            table=table(findings.VARIANT_HEAD, findings.variant_rows(variants, batch), left=(1,)),
            tabs=(
                lambda: _settings(run, settings),
                lambda: _guarantees(run),
                lambda: _runtimes(run),
                lambda: _lengths(run),
            ),
            run=run,
        )


def _settings(run: Run, settings: Sequence[Setting]) -> Markup:
    if not settings:
        return paragraph(gettext("No settings were measured for this model."))
    best = None if settings[0].breaks else 0
    export = gettext(
        "With --export FOLDER, the command writes the best model with its settings and a script that checks it."
    )
    parts = [
        table(findings.SETTING_HEAD, findings.setting_rows(settings), highlighted=best, left=(7,)),
        paragraph(export),
    ]
    if rows := findings.adaptive_rows(run):
        busy = gettext(
            "Inputs are answered one after another. While the machine is busy, as many other processes compute as it has "
            "processors. The adaptive choice returns to the larger model when the machine is quiet again, and changes no "
            "setting of the process."
        )
        title = heading(gettext("Latency on a busy machine"), level=3)
        parts += [title, paragraph(busy), table(findings.ADAPTIVE_HEAD, rows, left=(1, 2))]
    return joined(*parts)


def _guarantees(run: Run) -> Markup:
    guarantees = findings.guarantee_rows(run)
    parts = [
        table(findings.GUARANTEE_HEAD, guarantees) if guarantees else paragraph(gettext("No cascade was measured."))
    ]
    if rows := findings.distillation_rows(run):
        first = run.rows(Distillation)[0]
        about = gettext(
            "Accuracies are means over {n_seeds} seeds; the students see no labels of the other images."
        ).format(n_seeds=first.n_seeds)
        title = heading(
            gettext("Distillation with {labels_per_class} labels per class").format(
                labels_per_class=first.labels_per_class
            ),
            level=3,
        )
        parts += [title, paragraph(about), table(findings.DISTILLATION_HEAD, rows)]
    return joined(*parts)


def _runtimes(run: Run) -> Markup:
    missing = findings.missing_runtime_rows(run)
    networks = findings.runtime_rows(run)
    if not missing and not networks:
        return paragraph(gettext("Other runtimes are compared for the digit network only."))
    intro = paragraph(
        gettext(
            "The FAQ ranks TensorRT > ONNX Runtime > OpenVINO for convolutional networks, and TensorFlow Lite first on "
            "devices; runtimes that are not installed are not ranked here. All networks run in float32; the encoder has "
            "random weights. Compare the cores used too: a runtime that is faster on more cores is not cheaper."
        )
    )
    tables = [
        part
        for name, rows in networks.items()
        for part in (heading(name[0].upper() + name[1:], level=3), table(findings.RUNTIME_HEAD, rows))
    ]
    absent = (
        (heading(gettext("Not run"), level=3), table((gettext("Runtime"), gettext("reason")), missing, left=(1,)))
        if missing
        else ()
    )
    return joined(intro, *tables, *absent)


def _lengths(run: Run) -> Markup:
    rows = run.rows(LengthsResult)
    if not rows:
        return paragraph(
            gettext(
                "No inputs of different lengths were measured; --variable-lengths compares them for language models, text encoders and graphs "
                "with an attention mask."
            )
        )
    return joined(*map(paragraph, lengths_words(rows)), table(LENGTHS_HEAD, lengths_rows(rows), left=(5,)))
