"""What a measurement leaves behind: one ``Run`` with its spec, environment, results and raw samples."""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from workbench.core.errors import StoreError
from workbench.core.progress import Progress
from workbench.core.provenance import Provenance

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the packages that took part in a run."""

    device: str
    device_id: str
    """Row of the hardware catalogue, or "cpu"."""
    cpu: str
    n_cpus: int
    memory_bytes: int
    driver: str | None
    python: str
    packages: Mapping[str, str]
    git_revision: str | None

    def with_package(self, name: str, version: str) -> "Environment":
        """The same with a package that took part from another environment."""
        return replace(self, packages={**self.packages, name: version})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished measurement. ``results`` and ``samples`` have the shape their experiment documents."""

    kind: str
    spec: Mapping[str, Any]
    environment: Environment
    started_at: str
    finished_at: str
    seed: int
    results: list[Mapping[str, Any]]
    samples: Mapping[str, Any]
    failures: list[Mapping[str, str]]
    provenance: Provenance = Provenance.MEASURED
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    schema_version: int = SCHEMA_VERSION

    @property
    def day(self) -> str:
        """The calendar day (UTC) on which the run ended."""
        return self.finished_at[:10]

    def to_json(self) -> str:
        """The run as one JSON document."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Run":
        """A run read back; raises ``StoreError`` when the document is not one of ours."""
        try:
            data = json.loads(text)
            if data["schema_version"] > SCHEMA_VERSION:
                raise StoreError(
                    f"The run {data['id']} has format {data['schema_version']}; this version reads up to {SCHEMA_VERSION}.",
                    remedy="Upgrade the workbench.",
                )
            data["environment"] = Environment(**data["environment"])
            data["provenance"] = Provenance(data["provenance"])
            return cls(**data)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"This is not a stored run: {error}.", remedy="Export the run again with `workbench runs export`."
            ) from error


def utc_now() -> str:
    """The present moment, to the second, in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def last_run(items: Iterable[Progress | Run], on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The run that a measurement ends with; progress on the way goes to ``on_progress``."""
    for item in items:
        if isinstance(item, Run):
            return item
        if on_progress:
            on_progress(item)
    raise AssertionError("a measurement ends with a run")
