"""Runs a notebook headless and writes its report."""

import os
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import mistune
import nbformat
from markupsafe import Markup
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workbench import __version__
from workbench.core.errors import WorkbenchError, system_message
from workbench.core.language import gettext
from workbench.interface.export_mode import EXPORT_MODE
from workbench.interface.report.page import figure_div, page
from workbench.interface.translated_notebook import translate

PLOTLY_MIME = "application/vnd.plotly.v1+json"
CELL_TIMEOUT_S = 300
HEADING = re.compile(r"<h[12]>(.*?)</h[12]>")


class ReportFailed(WorkbenchError):
    """A notebook could not be run to its end."""


def write_report(notebook: Path, target: Path, settings: Mapping[str, object] | None = None) -> Path:
    """Execute a notebook in export mode and write ``target``.

    Args:
        notebook: Where it lies.
        target: HTML file that is written.
        settings: What its panels open with, by the name of the control; ``runs`` holds the ids of runs to show.

    Raises:
        ReportFailed: It is no notebook, or it does not run to its end.
    """
    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:  # whatever JSON it is
        raise ReportFailed(
            gettext("{notebook} is not a notebook: {error}.").format(notebook=notebook, error=system_message(error)),
            remedy=gettext("Name an .ipynb file."),
        ) from error
    translate(content)
    if settings:
        content.cells.insert(0, nbformat.v4.new_code_cell(f"settings = {dict(settings)!r}"))
    client = NotebookClient(
        content,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    manager = client.create_kernel_manager()
    try:
        with tempfile.TemporaryDirectory(
            prefix="workbench-"
        ) as sockets:  # no port is opened, and the kernel warns of none
            manager.transport, manager.ip = "ipc", f"{sockets}/kernel"
            client.execute(env={**os.environ, EXPORT_MODE: "1"})
    except CellExecutionError as error:
        raise ReportFailed(
            gettext("{notebook} stopped: {kind}: {error}").format(
                notebook=notebook.name, kind=error.ename, error=error.evalue
            ),
            remedy=gettext("Run it in JupyterLab to see where."),
        ) from error
    except RuntimeError as error:
        raise ReportFailed(
            gettext("The kernel for {notebook} did not start: {error}.").format(notebook=notebook.name, error=error),
            remedy=gettext("Try again when the machine is less busy."),
        ) from error
    texts = (cell.source for cell in content.cells if cell.cell_type == "markdown")
    title = next((text.splitlines()[0][2:] for text in texts if text.startswith("# ")), notebook.stem)
    body = _without_repeats(Markup("\n").join(_cell_html(cell) for cell in content.cells))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(title, body, footer=footer(notebook.name)), encoding="utf-8")
    return target


def _without_repeats(body: Markup) -> Markup:
    """Leave out a panel's title where the notebook's heading above it has the same words."""
    last = ""

    def kept(found: re.Match[str]) -> str:
        nonlocal last
        before, last = last, unescape(found[1])
        return "" if last == before else found[0]

    return Markup(HEADING.sub(kept, body))


def footer(source: str) -> Markup:
    """Return where a page comes from."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    text = gettext(
        "Written from {source} by Inference Workbench {version} at {time}. "
        "Runs, versions, hardware and data dates stand with each result."
    )
    return Markup("{}").format(text.format(source=source, version=__version__, time=now))


def _cell_html(cell: Any) -> Markup:
    if cell.cell_type == "markdown":
        return Markup(str(mistune.html(cell.source)).replace('.ipynb"', '.html"'))
    return Markup("\n").join(_output_html(output) for output in cell.get("outputs", []))


def _output_html(output: Any) -> Markup:
    """An output of a cell; what a notebook shows as HTML is its author's, as in JupyterLab."""
    if output.output_type == "stream":
        return Markup("<pre>{}</pre>").format(output.text)
    data = output.get("data", {})
    if PLOTLY_MIME in data:
        return figure_div(data[PLOTLY_MIME])
    if "text/html" in data:
        return Markup(data["text/html"])
    if "image/png" in data:
        return Markup('<img alt="" src="data:image/png;base64,{}">').format(data["image/png"])
    return Markup("<pre>{}</pre>").format(data["text/plain"]) if "text/plain" in data else Markup("")
