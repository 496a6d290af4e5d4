"""What loads on a reader's server said of a device and its software: kept beside the constants of its steps."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from workbench.core.checks import require_positive

LOADS = "loads"
"""Folder of them, in that of the calibrations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConstants:
    """Constants that loads on a server were fitted to."""

    device_id: str
    front_s: float
    """Time from sending a request to the scheduler and back: network, front end, host."""
    step_ratio: float
    """Decode steps over the predicted ones."""
    prompt_ratio: float
    """Products and attention of prompts over the predicted ones."""
    sources: tuple[str, ...]
    """Ids of the runs."""
    sequence_ratio: float = 1.0
    """Host time of each sequence in a step over the predicted one."""
    ttft_log_error: float = 0.0
    """Root mean square of the logarithm of measured over simulated TTFT of the loads, with these constants."""
    tpot_log_error: float = 0.0
    """The same of TPOT."""

    def __post_init__(self) -> None:
        require_positive(self, "front_s", "step_ratio", "prompt_ratio", "sequence_ratio")

    def keep(self, calibrations: Path) -> Path:
        """Write them where ``load_constants`` finds them, and return the file."""
        file = calibrations / LOADS / f"{self.device_id}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=1))
        return file


def load_constants(device_id: str, calibrations: Path | None) -> LoadConstants | None:
    """Return what the reader's loads said of a device; None where there were none."""
    file = calibrations / LOADS / f"{device_id}.json" if calibrations else None
    return msgspec.json.decode(file.read_bytes(), type=LoadConstants) if file and file.is_file() else None
