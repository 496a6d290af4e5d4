"""Where the files lie that come with the workbench, beside the package or inside it, and where those of its user lie."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACE = _PACKAGE / "carried" if (_PACKAGE / "carried").is_dir() else _PACKAGE.parent
IS_CHECKOUT = _PACKAGE.parent == _PLACE
NOTEBOOKS = _PLACE / "notebooks"
DATA = Path(os.environ.get("WORKBENCH_DATA", _PLACE / "data"))
REFERENCE_MODEL = DATA / "models" / "stdlib-9m"
REFERENCE_MODEL_PLACE = "data/models/stdlib-9m"  # what a reader types; works from any folder, see ``located``
OFFERED_MODELS = (REFERENCE_MODEL_PLACE, "data/models/llama-3.1-8b-shape")
HELD_OUT_TEXT = DATA / "text" / "stdlib_held_out.txt"
CALIBRATION_TEXT = DATA / "text" / "stdlib_calibration.txt"
MEASURED = DATA / "measured"


def located(place: str) -> str:
    """Return a path as it is, or under the workbench's own data when it begins with ``data/`` and only there something lies.

    Ids of a model hub stay as they are.
    """
    if Path(place).expanduser().exists():
        return str(Path(place).expanduser())
    carried = DATA / Path(place).relative_to("data") if Path(place).parts[:1] == ("data",) else None
    return str(carried) if carried is not None and carried.exists() else place


def workbench_home() -> Path:
    """Return where runs, jobs and the reader's own rows are kept: ``$WORKBENCH_HOME`` or the user's data folder."""
    return Path(os.environ.get("WORKBENCH_HOME") or platformdirs.user_data_dir("inference-workbench"))
