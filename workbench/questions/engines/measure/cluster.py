"""A sweep on a Ray cluster: one task for each candidate; what a lost node had finished is kept, the rest runs again."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.measuring.cluster import MOST_LOSSES, TaskError, connected, lost_too_often, stopped
from workbench.questions.engines.measure.parts import Interruption, Part, Parts
from workbench.questions.engines.measure.trials import Trials
from workbench.questions.engines.spec import EngineSweepSpec

WAIT_S = 1.0


def on_cluster(spec: EngineSweepSpec, parts: Parts) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
    """Yield the trials of a sweep, measured by tasks on the cluster that the spec names.

    Each task asks for the spec's cores and GPUs and hands its trials over one by one, so a trial is kept here before
    the next begins. When a node is lost, its candidates start again elsewhere with what is left to measure.

    Raises:
        NotAvailable: Ray is not installed, the cluster does not answer, or no node has the resources.
    """
    ray = connected(spec)
    try:
        yield from _Tasks(ray, spec, parts).items()
    finally:
        ray.shutdown()


class _Tasks:
    """The tasks of one sweep; ``running`` maps the stream of a task to its candidate."""

    def __init__(self, ray: ModuleType, spec: EngineSweepSpec, parts: Parts) -> None:
        self.ray, self.spec, self.parts = ray, spec, parts
        self.remote = ray.remote(max_retries=0, num_cpus=spec.n_cpus, num_gpus=spec.n_gpus)(measured_candidate)
        self.running: dict[Iterator[object], str] = {}
        self.losses = dict.fromkeys(spec.engines, 0)

    def _start(self, engine: str) -> None:
        stream = self.remote.remote(self.spec, engine, self.parts.outcomes(self.spec, engine))
        self.running[stream] = engine

    def items(self) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
        """Yield what the tasks hand over, in the order of its arrival."""
        for engine in self.spec.engines:
            self._start(engine)
        while self.running:
            ready, _ = self.ray.wait(list(self.running), timeout=WAIT_S)
            for stream in ready:
                yield from self._next(stream)

    def _next(self, stream: Iterator[object]) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
        engine = self.running[stream]
        try:
            item = self.ray.get(next(stream))
        except StopIteration:
            del self.running[stream]
        except self.ray.exceptions.RayTaskError as error:
            del self.running[stream]
            yield engine, stopped(error)
        except self.ray.exceptions.RayError as error:  # the node or its worker is gone
            del self.running[stream]
            yield engine, self._lost(engine, type(error).__name__)
        else:
            yield engine, item.error() if isinstance(item, TaskError) else item

    def _lost(self, engine: str, error: str) -> WorkbenchError:
        """Start a candidate again whose node was lost, unless that happened too often, and return the error to report."""
        self.losses[engine] += 1
        if self.losses[engine] > MOST_LOSSES:
            return lost_too_often(self.losses[engine], error)
        cause = gettext("The node that measured it was lost after {n} trials ({error}).").format(
            n=len(self.parts.trials(engine)), error=error
        )
        self._start(engine)
        return Interruption(cause, remedy=gettext("Nothing: the other trials were measured on another node."))


def measured_candidate(
    spec: EngineSweepSpec, engine: str, known: Mapping[float, bool]
) -> Iterator[Progress | Part | TaskError]:
    """Yield, on a node, what one candidate's measurement yields."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        try:
            yield from Trials(spec, engine, Path(folder), known=known).events()
        except WorkbenchError as error:
            yield TaskError.of(error)
