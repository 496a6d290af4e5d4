"""Where the catalogue's files lie."""

import os
from pathlib import Path

DATA = Path(os.environ.get("WORKBENCH_DATA", Path(__file__).resolve().parents[2] / "data"))
REFERENCE_MODEL = DATA / "models" / "stdlib-9m"
HELD_OUT_TEXT = DATA / "text" / "stdlib_held_out.txt"
MEASURED = DATA / "measured"
