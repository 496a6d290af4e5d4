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
from workbench.core.language import SOURCE, VARIABLE, language
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

    A copy that is there already stays as the reader left it. In another language than English the copies are translated, and follow
    their sources.
    """
    if IS_CHECKOUT and language() == SOURCE:
        return NOTEBOOKS
    target = workbench_home() / "notebooks" / (__version__ if language() == SOURCE else language())
    try:
        target.mkdir(parents=True, exist_ok=True)
        if language() != SOURCE:
            from workbench.interface.translated_notebook import copy_translated  # slow to import

            for notebook in NOTEBOOKS.glob("*.ipynb"):
                copy_translated(notebook, target)
            return target
        for notebook in NOTEBOOKS.glob("*.ipynb"):
            if not (target / notebook.name).exists():
                shutil.copy(notebook, target)
    except OSError as error:
        raise NotAvailable(
            f"The notebooks cannot be copied to {target}: {error}.", remedy="Set WORKBENCH_HOME to a writable folder."
        ) from error
    return target


def display_language() -> str:
    """Return the display language that the reader has chosen in JupyterLab, such as ``zh_CN``; "" where none was chosen."""
    import json5
    from jupyter_core.paths import jupyter_config_dir

    folder = os.environ.get("JUPYTERLAB_SETTINGS_DIR") or Path(jupyter_config_dir(), "lab", "user-settings")
    try:
        text = Path(folder, "@jupyterlab", "translation-extension", "plugin.jupyterlab-settings").read_text("utf-8")
        chosen = json5.loads(text).get("locale", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return chosen if isinstance(chosen, str) and chosen != "default" else ""


def lab(
    options: Annotated[list[str] | None, typer.Argument(help="Further options of `jupyter lab`, after `--`.")] = None,
) -> None:
    """Open the notebooks in JupyterLab."""
    if not os.environ.get(VARIABLE) and (chosen := display_language()):
        os.environ[VARIABLE] = chosen  # kernels speak it too
    with ReadableErrors():
        folder = notebooks_folder()
    # Containers run as root, which JupyterLab refuses unless it is told.
    as_root = ("--allow-root",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()
    command = (sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", *OPTIONS, *as_root)
    os.execv(sys.executable, (*command, *(options or ())))  # noqa: S606


COMMANDS = (lab,)
