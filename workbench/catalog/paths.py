"""Where the catalogue's files lie."""

import os
from pathlib import Path

DATA = Path(os.environ.get("WORKBENCH_DATA", Path(__file__).resolve().parents[2] / "data"))
REFERENCE_MODEL = DATA / "models" / "stdlib-9m"
REFERENCE_MODEL_PLACE = "data/models/stdlib-9m"  # what a reader types; works from any folder, see ``located``
HELD_OUT_TEXT = DATA / "text" / "stdlib_held_out.txt"
CALIBRATION_TEXT = DATA / "text" / "stdlib_calibration.txt"
MEASURED = DATA / "measured"


def located(place: str) -> str:
    """A path as it is, or under the project's folder when only there something lies; hub ids stay as they are."""
    if Path(place).expanduser().exists():
        return str(Path(place).expanduser())
    under = DATA.parent / place
    return str(under) if not Path(place).is_absolute() and under.exists() else place
