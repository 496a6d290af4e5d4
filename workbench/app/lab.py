"""The command that opens the notebooks in JupyterLab."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench import __version__
from workbench.catalog.paths import IS_CHECKOUT, NOTEBOOKS, workbench_home
from workbench.core.errors import NotAvailable
from workbench.interface.readable import ReadableErrors

OPTIONS = (
    "--ServerApp.ip=localhost",
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--KernelManager.transport=ipc",
)
"""No port beside the server's own is opened, and nothing is fetched from the network."""


def notebooks_folder() -> Path:
    """Return the folder of notebooks to open: a checkout's own, else copies in the user's folder for workbench data.

    A copy that is there already stays as the reader left it.
    """
    if IS_CHECKOUT:
        return NOTEBOOKS
    target = workbench_home() / "notebooks" / __version__
    try:
        target.mkdir(parents=True, exist_ok=True)
        for notebook in NOTEBOOKS.glob("*.ipynb"):
            if not (target / notebook.name).exists():
                shutil.copy(notebook, target)
    except OSError as error:
        raise NotAvailable(
            f"The notebooks cannot be copied to {target}: {error}.", remedy="Set WORKBENCH_HOME to a writable folder."
        ) from error
    return target


def lab(
    options: Annotated[list[str] | None, typer.Argument(help="Further options of `jupyter lab`, after `--`.")] = None,
) -> None:
    """Open the notebooks in JupyterLab."""
    with ReadableErrors():
        folder = notebooks_folder()
    # Containers run as root, which JupyterLab refuses unless it is told.
    as_root = ("--allow-root",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    command = (sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", *OPTIONS, *as_root)
    os.execv(sys.executable, (*command, *(options or ())))  # noqa: S606


COMMANDS = (lab,)
