"""The process of a job: ``python -m workbench.jobs.child FOLDER STORE``."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.jobs.directory import EVENT_INTERVAL_S, JobDirectory, JobState
from workbench.store.runs import RunStore

Measure = Callable[[Mapping[str, Any], Path], Iterator[Progress | Run]]


def _quantization(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.quantization import QuantizationSpec
    from workbench.experiments.quantization import measure

    return measure(QuantizationSpec.from_dict(spec), folder)


def _load(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.load import LoadSpec
    from workbench.experiments.load import measure

    return measure(LoadSpec.from_dict(spec), folder)


def _engine_sweep(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.engine_sweep import EngineSweepSpec
    from workbench.experiments.engine_sweep import in_turn, measure
    from workbench.jobs.cluster import on_cluster

    wanted = EngineSweepSpec.from_dict(spec)
    return measure(wanted, folder, source=on_cluster if wanted.cluster else in_turn)


def _serving_speed(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.serving_speed import ServingSpeedSpec
    from workbench.experiments.serving_speed import measure

    return measure(ServingSpeedSpec.from_dict(spec), folder)


def _gemm(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.serving_speed import GemmSpec
    from workbench.experiments.gemm import measure

    return measure(GemmSpec.from_dict(spec), folder)


def _sensitivity(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.sensitivity import SensitivitySpec
    from workbench.experiments.sensitivity import measure

    return measure(SensitivitySpec.from_dict(spec), folder)


def _checkpoint(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.checkpoints import CheckpointSpec
    from workbench.experiments.checkpoint import measure

    return measure(CheckpointSpec.from_dict(spec), folder)


def _evaluation(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.evaluation import EvaluationSpec
    from workbench.experiments.evaluation import measure

    return measure(EvaluationSpec.from_dict(spec), folder)


def _plan_damage(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.plan_damage import PlanDamageSpec
    from workbench.experiments.plan_damage import measure

    return measure(PlanDamageSpec.from_dict(spec), folder)


def _attention(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.attention import AttentionSpec
    from workbench.experiments.attention import measure

    return measure(AttentionSpec.from_dict(spec), folder)


def _long_context(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.long_context import LongContextSpec
    from workbench.experiments.long_context import measure

    return measure(LongContextSpec.from_dict(spec), folder)


def _ring_attention(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.long_context import RingSpec
    from workbench.experiments.ring_attention import measure

    return measure(RingSpec.from_dict(spec), folder)


def _context_quality(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.context_quality import ContextQualitySpec
    from workbench.experiments.context_quality import measure

    return measure(ContextQualitySpec.from_dict(spec), folder)


EXPERIMENTS: dict[str, Measure] = {
    "quantization": _quantization,
    "load": _load,
    "engine_sweep": _engine_sweep,
    "serving_speed": _serving_speed,
    "gemm": _gemm,
    "checkpoint": _checkpoint,
    "evaluation": _evaluation,
    "sensitivity": _sensitivity,
    "plan_damage": _plan_damage,
    "attention": _attention,
    "long_context": _long_context,
    "ring_attention": _ring_attention,
    "context_quality": _context_quality,
}


def carry_out(directory: JobDirectory, store: RunStore, experiments: Mapping[str, Measure]) -> None:
    """Measure, store the run, and leave a final state whatever happens."""
    job = directory.read_spec()
    started = time.monotonic()
    written_at = -EVENT_INTERVAL_S
    try:
        for item in experiments[job["kind"]](job["spec"], directory.path):
            if isinstance(item, Run):
                store.add(replace(item, id=directory.id))
                directory.finish(JobState.DONE)
                return
            now = time.monotonic()
            if now - written_at >= EVENT_INTERVAL_S:
                directory.append_event(item, elapsed_s=now - started)
                written_at = now
    except WorkbenchError as error:
        directory.finish(JobState.FAILED, cause=error.cause, remedy=error.remedy, details=traceback.format_exc())
    except OSError as error:
        cause = f"The job could not write its files: {error}."
        remedy = "Free disk space, then resume: finished parts are kept."
        directory.finish(JobState.FAILED, cause=cause, remedy=remedy, details=traceback.format_exc())
    except Exception as error:
        cause = f"The measurement stopped with {type(error).__name__}: {error}."
        remedy = "The log has the details; please report them."
        directory.finish(JobState.FAILED, cause=cause, remedy=remedy, details=traceback.format_exc())


def main() -> None:
    """Read the two paths and carry the job out."""
    folder, store = sys.argv[1:3]
    directory = JobDirectory(Path(folder))
    carry_out(directory, RunStore(Path(store)), EXPERIMENTS)


if __name__ == "__main__":
    main()
