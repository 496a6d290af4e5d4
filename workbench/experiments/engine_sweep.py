"""Engines under the same load at growing rates, until each breaks the promise."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.core.engine_sweep import Candidate, EngineResult, EngineSweepSpec, Trial
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.experiments.engine_trials import SERVER, Part, Trials, work_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "engine_sweep"
KEPT_OF_A_REQUEST = ("due_s", "sent_s", "first_content_s", "end_s", "output_tokens", "error")


class Interruption(WorkbenchError):
    """Something that a reader should know of, and that did not end the candidate's measurement."""


Source = Callable[[EngineSweepSpec, "Parts"], Iterator[tuple[str, Progress | Part | WorkbenchError]]]
"""Where trials come from: each with the text of its candidate; an error ends that candidate only."""


class Parts:
    """What a sweep has measured so far: one file for each trial, so that none is measured twice."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts = folder / "parts"
        self._parts.mkdir(parents=True, exist_ok=True)

    def _path(self, engine: str, name: str) -> Path:
        return self._parts / f"{Candidate.read(engine).file_name}@{name}.json"

    def keep(self, part: Part) -> None:
        """Store a part; it is there whole or not at all."""
        path = self._path(part.engine, part.name)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(part.value))
        os.replace(unfinished, path)

    def trials(self, engine: str) -> tuple[Trial, ...]:
        """The trials of a candidate by rising rate."""
        return tuple(Trial.from_dict(d["trial"]) for d in self._files(engine))

    def outcomes(self, spec: EngineSweepSpec, engine: str) -> dict[float, bool]:
        """Rates that were tried, and whether each was sustained."""
        return {t.rate_per_s: t.attainment_fraction >= spec.attainment_fraction for t in self.trials(engine)}

    def server(self, engine: str) -> dict[str, Any]:
        """What is known of a candidate's server."""
        path = self._path(engine, SERVER)
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def requests(self, engine: str) -> dict[str, list[dict[str, Any]]]:
        """Raw times of each trial's requests, so that figures can be drawn and checked later."""
        return {
            f"{d['trial']['rate_per_s']:.6g}": [
                {k: row[k] for k in KEPT_OF_A_REQUEST} for row in d["samples"]["requests"]
            ]
            for d in self._files(engine)
        }

    def _files(self, engine: str) -> list[dict[str, Any]]:
        server = self._path(engine, SERVER)
        name = Candidate.read(engine).file_name
        paths = [p for p in self._parts.glob(f"{name}@*.json") if p != server]
        return sorted((json.loads(p.read_text()) for p in paths), key=lambda d: float(d["trial"]["rate_per_s"]))


def run(spec: EngineSweepSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec, measured from here; nothing is stored.

    Raises:
        InvalidSpec: the spec names a cluster; sweeps go there as jobs.
    """
    if spec.cluster:
        raise InvalidSpec(
            "This spec names a cluster, and run() measures on this machine.",
            remedy='Submit it as a job: JobManager().submit("engine_sweep", spec.to_dict()).',
        )
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def in_turn(spec: EngineSweepSpec, parts: Parts) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
    """One candidate after the other on this machine."""
    for engine in spec.engines:
        try:
            trials = Trials(spec, engine, parts.folder, known=parts.outcomes(spec, engine))
            for item in trials.events():
                yield engine, item
        except WorkbenchError as error:
            yield engine, error


def measure(spec: EngineSweepSpec, folder: Path, *, source: Source = in_turn) -> Iterator[Progress | Run]:
    """Progress and, last, the run; an engine that is missing or fails does not end the others."""
    started_at = utc_now()
    parts = Parts(folder)
    done = dict.fromkeys(spec.engines, 0.0)
    errors: dict[str, WorkbenchError] = {}
    interruptions: list[Mapping[str, str]] = []
    share = work_of(spec)
    for engine, item in source(spec, parts):
        if isinstance(item, Part):
            parts.keep(item)
        elif isinstance(item, Interruption):
            interruptions.append(_failure(engine, item))
        elif isinstance(item, WorkbenchError):
            errors[engine] = item
            done[engine] = share
        else:
            for earlier in spec.engines[: spec.engines.index(engine)] if spec.cluster is None else ():
                done[earlier] = share
            done[engine] = item.done
            total = share * len(spec.engines)
            yield Progress(step=item.step, done=sum(done.values()), total=total, result=item.result)
    results = [_result(engine, parts, errors.get(engine)) for engine in spec.engines]
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device(spec.device)),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[r.to_dict() for r in results],
        samples={engine: parts.requests(engine) for engine in spec.engines if engine not in errors},
        failures=[*interruptions, *(_failure(engine, error) for engine, error in errors.items())],
    )


def _failure(engine: str, error: WorkbenchError) -> Mapping[str, str]:
    return {"engine": engine, "cause": error.cause, "remedy": error.remedy}


def _result(engine: str, parts: Parts, error: WorkbenchError | None) -> EngineResult:
    trials = parts.trials(engine)
    if error is None:
        return EngineResult(engine=engine, status="measured", trials=trials, **parts.server(engine))
    status: Any = "not available" if type(error).__name__ == "NotAvailable" else "failed"
    return EngineResult(engine=engine, status=status, reason=str(error), trials=trials)
