"""Runs a notebook headless and writes its report."""

import os
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import mistune
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from workbench import __version__
from workbench.core.errors import WorkbenchError
from workbench.export.page import figure_div, page

EXPORT_MODE = "WORKBENCH_EXPORT"
PLOTLY_MIME = "application/vnd.plotly.v1+json"
CELL_TIMEOUT_S = 300


class ReportFailed(WorkbenchError):
    """A notebook could not be run to its end."""


def write_report(notebook: Path, target: Path) -> Path:
    """Execute a notebook in export mode and write ``target``; raises ``ReportFailed``."""
    try:
        content = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError) as error:
        raise ReportFailed(f"{notebook} is not a notebook: {error}.", remedy="Name an .ipynb file.") from error
    environment = {**os.environ, EXPORT_MODE: "1"}
    client = NotebookClient(
        content,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(notebook.parent)}},
    )
    try:
        client.execute(env=environment)
    except CellExecutionError as error:
        raise ReportFailed(
            f"{notebook.name} stopped: {error.ename}: {error.evalue}", remedy="Run it in JupyterLab to see where."
        ) from error
    except RuntimeError as error:
        raise ReportFailed(
            f"The kernel for {notebook.name} did not start: {error}.", remedy="Try again when the machine is less busy."
        ) from error
    title = notebook.stem
    for cell in content.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            title = cell.source.splitlines()[0][2:]
            break
    body = "\n".join(_cell_html(cell) for cell in content.cells)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page(title, body, footer=footer(notebook.name)), encoding="utf-8")
    return target


def footer(source: str) -> str:
    """Where a page comes from."""
    now = datetime.now(UTC).isoformat(timespec="minutes")
    return f"Written from {escape(source)} by Inference Workbench {__version__} at {now}. Runs, versions, hardware and data dates stand with each result."


def _cell_html(cell: Any) -> str:
    if cell.cell_type == "markdown":
        return str(mistune.html(cell.source)).replace('.ipynb"', '.html"')
    return "\n".join(_output_html(output) for output in cell.get("outputs", []))


def _output_html(output: Any) -> str:
    if output.output_type == "stream":
        return f"<pre>{escape(output.text)}</pre>"
    data = output.get("data", {})
    if PLOTLY_MIME in data:
        return figure_div(data[PLOTLY_MIME])
    if "text/html" in data:
        return str(data["text/html"])
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{data["image/png"]}">'
    return f"<pre>{escape(data['text/plain'])}</pre>" if "text/plain" in data else ""
