"""What a measurement leaves behind: one ``Run`` with its spec, environment, results and raw samples."""

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.provenance import Provenance
from workbench.core.rows import Failure, Json, Row, Samples, plain
from workbench.core.specs import Spec

SCHEMA_VERSION = 2
R = TypeVar("R", bound=Row)
S = TypeVar("S", bound=Samples)
A = TypeVar("A", bound=Spec)


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
    other_load_fraction: float | None = None
    """Share of the machine's processor time that processes without a part in the measurement took meanwhile; None: not known, as for a
    server that was there already."""

    def with_package(self, name: str, version: str) -> "Environment":
        """The same with a package that took part from another environment."""
        return replace(self, packages={**self.packages, name: version})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One finished measurement with its rows, raw samples and environment."""

    kind: str
    """What was measured, such as ``load``."""
    spec: Mapping[str, Any]
    """What was asked for: the knobs of the kind's command, by name."""
    environment: Environment
    started_at: str
    """Start in ISO 8601, UTC."""
    finished_at: str
    """End in ISO 8601, UTC."""
    seed: int
    """Seed of every random choice."""
    results: Sequence[Row]
    """The rows; their fields depend on the kind and, where a kind has several, on their ``part``."""
    samples: Samples
    """Raw samples; their fields depend on the kind."""
    failures: Sequence[Failure]
    """What could not be measured."""
    provenance: Provenance = Provenance.MEASURED
    """How the numbers were obtained: measured, estimated, simulated or published."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    schema_version: int = SCHEMA_VERSION

    @property
    def model(self) -> str | None:
        """The model that was measured, where the measurement has one."""
        model = self.spec.get("model")
        return str(model) if model else None

    @property
    def day(self) -> str:
        """The calendar day (UTC) on which the run ended."""
        return self.finished_at[:10]

    def rows(self, kind: type[R]) -> list[R]:
        """Return the rows of one kind, in their order."""
        return [row for row in self.results if isinstance(row, kind)]

    def row(self, kind: type[R]) -> R | None:
        """Return the first row of a kind; None where there is none."""
        return next(iter(self.rows(kind)), None)

    def sampled(self, kind: type[S]) -> S:
        """Return the raw samples; raises ``NotAvailable`` where the run holds others, or none."""
        if not isinstance(self.samples, kind):
            raise NotAvailable(
                gettext("Run {id} holds no raw samples of this kind.").format(id=self.id),
                remedy=gettext("Measure again."),
            )
        return self.samples

    def asked(self, kind: type[A]) -> A:
        """Return the spec, which is not checked again; what an older version did not ask for has its default."""
        return kind.stored(self.spec)

    def to_dict(self) -> dict[str, Json]:
        """Return the run as JSON holds it."""
        values = plain(self)
        assert isinstance(values, dict)
        return values

    def to_json(self) -> str:
        """Return the run as one JSON document."""
        return json.dumps(self.to_dict(), allow_nan=False)


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
