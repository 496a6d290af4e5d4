"""What a sweep has measured so far: one part for each trial, so that none is measured twice."""

from collections.abc import Mapping
from dataclasses import dataclass

from workbench.core.errors import WorkbenchError
from workbench.load.rows import TimedRequest
from workbench.measuring.envelope import Record
from workbench.questions.engines.rows import Trial, rate_name
from workbench.questions.engines.spec import Candidate, EngineSweepSpec

SERVER = "server"


class Interruption(WorkbenchError):
    """Something that a reader should know of, and that did not end the candidate's measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTrial:
    """A trial with its requests."""

    trial: Trial
    requests: tuple[TimedRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What is known of a candidate's server; the fields are those of ``EngineResult``."""

    version: str | None = None
    startup_s: float | None = None
    memory_bytes: float | None = None
    launch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A finished piece of a candidate's measurement, to be kept."""

    engine: str
    value: MeasuredTrial | ServerFacts

    @property
    def name(self) -> str:
        """Name of the part: the server, or the request rate of the trial."""
        return SERVER if isinstance(self.value, ServerFacts) else rate_name(self.value.trial.rate_per_s)


class Parts:
    """Parts of all candidates in the folder of a measurement."""

    def __init__(self, record: Record) -> None:
        self.folder, self._kept = record.folder, record.kept

    def keep(self, part: Part) -> None:
        """Store a part; it is there whole or not at all."""
        self._kept.write(_name(part.engine, part.name), part.value)

    def trials(self, engine: str) -> tuple[Trial, ...]:
        """Return the trials of a candidate by rising rate."""
        return tuple(part.trial for part in self._trials(engine))

    def outcomes(self, spec: EngineSweepSpec, engine: str) -> dict[float, bool]:
        """Return the rates that were tried, and whether each was sustained."""
        return {t.rate_per_s: t.attainment_fraction >= spec.attainment_fraction for t in self.trials(engine)}

    def server(self, engine: str) -> ServerFacts:
        """Return what is known of a candidate's server."""
        return self._kept.read(_name(engine, SERVER), ServerFacts) or ServerFacts()

    def requests(self, engine: str) -> Mapping[str, tuple[TimedRequest, ...]]:
        """Return the requests of each trial by its rate, so that figures can be drawn and checked later."""
        return {rate_name(part.trial.rate_per_s): part.requests for part in self._trials(engine)}

    def _trials(self, engine: str) -> list[MeasuredTrial]:
        parts = self._kept.named(_name(engine, ""), MeasuredTrial)  # the server's facts are no trial and left out
        return sorted(parts.values(), key=lambda part: part.trial.rate_per_s)


def _name(engine: str, part: str) -> str:
    return f"{Candidate.read(engine).file_name}@{part}"
