"""The process of a job: ``python -m workbench.jobs.child FOLDER STORE``."""

import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.jobs.directory import EVENT_INTERVAL_S, JobDirectory, JobState
from workbench.store.runs import RunStore

Measure = Callable[[Mapping[str, Any], Path], Iterator[Progress | Run]]


def _with(spec_class: str, experiment: str) -> Measure:
    """A measurement whose modules are imported when it begins: each brings the packages of its own subject only.

    Args:
        spec_class: Module in ``workbench.core`` and class, such as "load.LoadSpec".
        experiment: Module in ``workbench.experiments``.
    """

    def measure(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
        module, name = spec_class.split(".")
        begin = import_module(f"workbench.experiments.{experiment}").measure
        wanted = getattr(import_module(f"workbench.core.{module}"), name).from_dict(spec)
        steps: Iterator[Progress | Run] = begin(wanted, folder)
        return steps

    return measure


def _engine_sweep(spec: Mapping[str, Any], folder: Path) -> Iterator[Progress | Run]:
    from workbench.core.engine_sweep import EngineSweepSpec
    from workbench.experiments.engine_sweep import in_turn, measure
    from workbench.jobs.cluster import on_cluster

    wanted = EngineSweepSpec.from_dict(spec)
    return measure(wanted, folder, source=on_cluster if wanted.cluster else in_turn)


EXPERIMENTS: dict[str, Measure] = {
    "quantization": _with("quantization.QuantizationSpec", "quantization"),
    "load": _with("load.LoadSpec", "load"),
    "engine_sweep": _engine_sweep,
    "serving_speed": _with("serving_speed.ServingSpeedSpec", "serving_speed"),
    "gemm": _with("serving_speed.GemmSpec", "gemm"),
    "checkpoint": _with("checkpoints.CheckpointSpec", "checkpoint"),
    "evaluation": _with("evaluation.EvaluationSpec", "evaluation"),
    "sensitivity": _with("sensitivity.SensitivitySpec", "sensitivity"),
    "plan_damage": _with("plan_damage.PlanDamageSpec", "plan_damage"),
    "attention": _with("attention.AttentionSpec", "attention"),
    "long_context": _with("long_context.LongContextSpec", "long_context"),
    "ring_attention": _with("long_context.RingSpec", "ring_attention"),
    "faults": _with("faults.FaultsSpec", "faults"),
    "surge": _with("surge.SurgeSpec", "surge"),
    "redaction": _with("redaction.RedactionSpec", "redaction"),
    "rollout": _with("rollout.RolloutSpec", "rollout"),
    "edge": _with("edge.EdgeSpec", "edge"),
    "fusion": _with("fusion.FusionSpec", "fusion"),
    "images": _with("images.ImagesSpec", "images"),
    "techniques": _with("techniques.TechniquesSpec", "techniques"),
    "calibration": _with("calibration.CalibrationSpec", "calibration"),
    "monitoring": _with("monitoring.MonitoringSpec", "monitoring"),
    "batch_search": _with("batch_search.BatchSearchSpec", "batch_search"),
    "recording": _with("recording.RecordingSpec", "recording"),
    "context_quality": _with("context_quality.ContextQualitySpec", "context_quality"),
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
