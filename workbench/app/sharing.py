"""Panels outside JupyterLab: a view that somebody shared, and notebooks as reports with the reader's own choices."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.knobs import knobs_of
from workbench.interface.panel_text import text_of
from workbench.interface.readable import ReadableErrors, out, show_failure
from workbench.interface.shared_state import PanelChoices, read_view_file
from workbench.jobs.manager import JobManager
from workbench.store.decoding import run_from_json
from workbench.store.runs import RunStore

if TYPE_CHECKING:
    from workbench.interface.question_panel import QuestionPanel

PANEL_IMPORT = re.compile(r"^from workbench\.questions\.([\w.]+)\.panel import", re.MULTILINE)


def show(
    view: Annotated[str, typer.Argument(help='File that "Save view" of a panel wrote, or the `state` of a link.')],
    out_file: Annotated[Path | None, typer.Option("--out", help="HTML file to write; VIEW.html unless given.")] = None,
) -> None:
    """Open a shared view: print its answer, and write the panel as one HTML file that needs no network."""
    from workbench.app.panels import panel_class  # panels take a second that no other command should wait
    from workbench.interface.report.notebook import footer
    from workbench.interface.report.page import page

    with ReadableErrors():
        choices = _choices(view, JobManager().store)
        panel = panel_class(choices.panel)()
        panel.open_with(choices.values)
        target = out_file or Path(f"{choices.panel.replace('/', '_')}.html")
        content = page(panel.title, panel.static_html(), footer=footer(str(choices)))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            raise InvalidSpec(f"{target} cannot be written: {error.strerror}.", remedy="Give another --out.") from error
        out.print(Text(panel.title, style="bold"))
        out.print(text_of(panel.answer.value))
        out.print(f"Written: {target}", soft_wrap=True)


def _choices(view: str, store: RunStore) -> PanelChoices:
    """Return what a file or a link's text asks for; a run that the file carries is stored."""
    file = Path(view).expanduser()
    if not file.exists() and "?" in view:
        return PanelChoices.read(view)
    choices, run = read_view_file(file)
    if run is not None:
        store.add(run_from_json(run.decode(), source=f"The run in {file}"))
    return choices


def export(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks to run; each becomes one HTML file.")],
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Value of a control that panels open with. Repeat it for several."
        ),
    ] = None,
    runs: Annotated[
        str,
        typer.Option(
            metavar="ID,ID", help="Runs that the panels show, instead of the newest. Separate several with commas."
        ),
    ] = "",
    folder: Annotated[Path, typer.Option("--out", help="Folder that the reports are written to.")] = Path("reports"),
) -> None:
    """Run notebooks and write each as one HTML report that needs no network."""
    from workbench.interface.report.notebook import write_report

    failed = False
    with ReadableErrors():
        settings = _settings(changes or [], [part.strip() for part in runs.split(",") if part.strip()], notebooks)
    for notebook in notebooks:
        try:
            target = write_report(notebook, folder / f"{notebook.stem}.html", settings)
        except WorkbenchError as error:
            show_failure(error.cause, error.remedy)
            failed = True
        else:
            out.print(f"{target}  {target.stat().st_size / 1e3:.0f} kB", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _settings(changes: list[str], run_ids: list[str], notebooks: list[Path]) -> dict[str, object]:
    """Return what the panels are to open with; raises ``InvalidSpec`` for what no panel of the notebooks has."""
    settings: dict[str, object] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            raise InvalidSpec(f"{change!r} sets nothing.", remedy="Write KEY=VALUE, such as rate_per_s=100.")
        settings[key.strip().replace("-", "_")] = value
    if not settings and not run_ids:
        return settings
    from workbench.app.panels import panel_class

    panels = [panel_class(name) for notebook in notebooks for name in _panel_names(notebook)]
    known = {name for panel in panels for name in _controls(panel)}
    if unknown := sorted(set(settings) - known):
        raise InvalidSpec(
            f"No panel of these notebooks has a control {', '.join(unknown)}.",
            remedy=f"There are {', '.join(sorted(known)) or 'none'}.",
        )
    stored = {run.id for panel in panels for run in panel.stored_runs(JobManager().store)}
    if missing := sorted(set(run_ids) - stored):
        raise InvalidSpec(
            f"No panel of these notebooks can show run {', '.join(missing)}.",
            remedy="`workbench runs list` prints the ids of stored runs.",
        )
    return settings | ({"runs": run_ids} if run_ids else {})


def _panel_names(notebook: Path) -> list[str]:
    """Return the names of the panels that a notebook opens."""
    import nbformat

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:  # whatever JSON it is
        raise InvalidSpec(f"{notebook} is not a notebook: {error}.", remedy="Name an .ipynb file.") from error
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return [place.replace(".", "/") for place in PANEL_IMPORT.findall(code) if not place.endswith("claims")]


def _controls(panel: "type[QuestionPanel]") -> set[str]:
    return ({*knobs_of(panel.spec_class)} - panel.hidden) | {*knobs_of(panel.state_class)}
