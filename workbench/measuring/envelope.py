"""The envelope of every measurement: times, environment, failures and kept parts around what a question measures."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.core.devices import Device
from workbench.core.progress import Progress
from workbench.core.provenance import Provenance
from workbench.core.rows import Failure, Row, Samples
from workbench.core.runs import Environment, Run, last_run, utc_now
from workbench.core.specs import Spec
from workbench.measuring.kept import Kept
from workbench.measuring.machine import OtherLoad
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment


@dataclass(slots=True)
class Record:
    """What a measurement notes down while it runs; the envelope makes the run of it.

    Args:
        folder: Place of the job, where parts, models and logs of this measurement lie.
    """

    folder: Path
    rows: list[Row] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    failures: list[Failure] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)
    """Versions that took part from elsewhere than this Python environment."""
    device: Device | None = None
    """Device that was measured; None: the one that the spec's ``device`` chooses."""
    environment: Environment | None = None
    """Environment of the measurement where another process or machine carried it out; None: this one."""
    provenance: Provenance = Provenance.MEASURED
    others: OtherLoad = field(default_factory=OtherLoad)
    """What other processes take of the machine since the record was made."""
    _kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """Parts that a resumed measurement does not measure again."""
        self._kept = self._kept or Kept(self.folder)
        return self._kept


Measure = Callable[[Any, Record], Iterator[Progress]]
"""What ``measure.py`` of a question offers as ``measure``: it yields progress and fills the record."""


def measured(spec: Spec, folder: Path) -> Iterator[Progress | Run]:
    """Yield the progress of a spec's measurement and, last, its run; a second call in the folder resumes it."""
    measure: Measure = import_module(type(spec).__module__.removesuffix("spec") + "measure").measure
    folder.mkdir(parents=True, exist_ok=True)
    record, started_at = Record(folder), utc_now()
    yield from measure(spec, record)
    device = record.device or chosen_device(getattr(spec, "device", "auto"))
    environment = record.environment or replace(
        read_environment(device),
        other_load_fraction=None if asks_a_server(spec) else round(record.others.fraction(), 3),
    )
    for name, version in record.packages.items():
        environment = environment.with_package(name, version)
    yield Run(
        kind=spec.kind,
        spec=spec.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=getattr(spec, "seed", 0),
        results=record.rows,
        samples=record.samples,
        failures=record.failures,
        provenance=record.provenance,
    )


def asks_a_server(spec: Spec) -> bool:
    """Return whether a spec measures a server by its URL, whose work is no disturbance."""
    return any("://" in str(value) for value in spec.to_dict().values())


def run(spec: Spec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """Return the finished run of a spec; nothing is stored and nothing stays on disk."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measured(spec, Path(folder)), on_progress)
