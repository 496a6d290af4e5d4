"""Paths by which a JupyterLab knows the notebooks, so that a link opens a tab in it."""

import json
import os
from functools import cache
from pathlib import Path

from jupyter_core.paths import jupyter_runtime_dir


@cache
def server_root() -> Path | None:
    """Return the folder that the Jupyter server of this kernel serves; None outside of one, or where it does not tell."""
    server = os.environ.get("JPY_PARENT_PID", "")
    try:
        about = json.loads((Path(jupyter_runtime_dir()) / f"jpserver-{server}.json").read_text(encoding="utf-8"))
        return Path(about["root_dir"]).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lab_path(name: str) -> str | None:
    """Return the path of a file beside the notebook as its server names it; None where that is not known."""
    root, here = server_root(), Path.cwd().resolve()
    if root is None or not here.is_relative_to(root):
        return None
    return (here.relative_to(root) / name).as_posix()
