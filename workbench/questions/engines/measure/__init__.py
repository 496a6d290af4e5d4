"""Engines under the same load at growing rates, until each misses the SLO."""

from collections.abc import Iterator
from typing import Literal

from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.measuring.envelope import Record
from workbench.questions.engines.measure.cluster import on_cluster
from workbench.questions.engines.measure.parts import Interruption, Part, Parts
from workbench.questions.engines.measure.trials import Trials, work_of
from workbench.questions.engines.rows import EngineResult, SweepSamples
from workbench.questions.engines.spec import EngineSweepSpec


def in_turn(spec: EngineSweepSpec, parts: Parts) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
    """Yield the progress and the parts of one candidate after the other; an error ends that candidate only."""
    for engine in spec.engines:
        try:
            for item in Trials(spec, engine, parts.folder, known=parts.outcomes(spec, engine)).events():
                yield engine, item
        except WorkbenchError as error:
            yield engine, error


def measure(spec: EngineSweepSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress of a sweep here, or on the cluster that the spec names; an engine that is missing or fails does not end the others."""
    parts = Parts(record)
    done = dict.fromkeys(spec.engines, 0.0)
    errors: dict[str, WorkbenchError] = {}
    share = work_of(spec)
    for engine, item in (in_turn if spec.cluster is None else on_cluster)(spec, parts):
        if isinstance(item, Part):
            parts.keep(item)
        elif isinstance(item, Interruption):
            record.failures.append(Failure.of(item, engine))
        elif isinstance(item, WorkbenchError):
            errors[engine] = item
            done[engine] = share
        else:
            for earlier in spec.engines[: spec.engines.index(engine)] if spec.cluster is None else ():
                done[earlier] = share
            done[engine] = item.done
            total = share * len(spec.engines)
            yield Progress(step=item.step, done=sum(done.values()), total=total, result=item.result)
    record.rows += [_result(engine, parts, errors.get(engine)) for engine in spec.engines]
    record.samples = SweepSamples(requests={e: parts.requests(e) for e in spec.engines if e not in errors})
    record.failures += [Failure.of(error, engine) for engine, error in errors.items()]


def _result(engine: str, parts: Parts, error: WorkbenchError | None) -> EngineResult:
    trials = parts.trials(engine)
    if error is None:
        server = parts.server(engine)
        return EngineResult(
            engine=engine,
            status="measured",
            version=server.version,
            startup_s=server.startup_s,
            memory_bytes=server.memory_bytes,
            launch=server.launch,
            trials=trials,
        )
    status: Literal["not available", "failed"] = "not available" if isinstance(error, NotAvailable) else "failed"
    return EngineResult(engine=engine, status=status, reason=str(error), trials=trials)
