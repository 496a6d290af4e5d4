"""A sweep on a Ray cluster: one task for each candidate; what a lost node had finished is kept, the rest runs again."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.progress import Progress
from workbench.questions.engines.measure.parts import Interruption, Part, Parts
from workbench.questions.engines.measure.trials import Trials
from workbench.questions.engines.spec import EngineSweepSpec

MOST_LOSSES = 3
WAIT_S = 1.0
CONNECT_S = 5.0
OWN_CLUSTER = "local"


def on_cluster(spec: EngineSweepSpec, parts: Parts) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
    """Yield the trials of a sweep, measured by tasks on the cluster that the spec names.

    Each task asks for the spec's cores and GPUs and hands its trials over one by one, so a trial is kept here before
    the next begins. When a node is lost, its candidates start again elsewhere with what is left to measure.

    Raises:
        NotAvailable: Ray is not installed, the cluster does not answer, or no node has the resources.
    """
    ray = _connected(spec)
    try:
        yield from _Tasks(ray, spec, parts).items()
    finally:
        ray.shutdown()


def _connected(spec: EngineSweepSpec) -> ModuleType:
    try:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
    except ImportError as error:
        raise NotAvailable(
            "Ray is not installed.", remedy="Install it with: pip install 'inference-workbench[cluster]'"
        ) from error
    own = spec.cluster == OWN_CLUSTER
    _require_answer(str(spec.cluster))
    try:
        ray.init(
            address=None if own else spec.cluster,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            **({"include_dashboard": False} if own else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _no_answer(str(spec.cluster), str(error).splitlines()[0]) from error
    wanted = {"CPU": spec.n_cpus, "GPU": spec.n_gpus}
    nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if not any(all(n.get(k, 0.0) >= v for k, v in wanted.items()) for n in nodes):
        ray.shutdown()
        most = ", ".join(f"{max((n.get(k, 0.0) for n in nodes), default=0):g} {k}" for k in wanted)
        raise NotAvailable(
            f"No node of the cluster has {spec.n_cpus:g} CPU and {spec.n_gpus:g} GPU; the most on one is {most}.",
            remedy="Ask for less, or add a node.",
        )
    module: ModuleType = ray
    return module


def _require_answer(address: str) -> None:
    """Ray itself waits minutes for an address where nobody listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        except OSError as error:
            raise _no_answer(address, error.strerror or str(error)) from error


def _no_answer(address: str, reason: str) -> NotAvailable:
    remedy = f"Check the address and `ray status` there, or use {OWN_CLUSTER!r}."
    return NotAvailable(f"The Ray cluster {address} does not answer: {reason}.", remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """An error of a task, in a form that reaches this process whatever its class."""

    cause: str
    remedy: str
    is_available: bool
    """Whether the engine can be measured there at all."""

    def error(self) -> WorkbenchError:
        """Return the error as it was raised."""
        return (WorkbenchError if self.is_available else NotAvailable)(self.cause, remedy=self.remedy)


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
            cause = f"The task stopped with {str(error).strip().splitlines()[-1]}"
            yield engine, WorkbenchError(cause, remedy="The node's Ray log has the rest.")
        except self.ray.exceptions.RayError as error:  # the node or its worker is gone
            del self.running[stream]
            yield engine, self._lost(engine, type(error).__name__)
        else:
            yield engine, item.error() if isinstance(item, TaskError) else item

    def _lost(self, engine: str, error: str) -> WorkbenchError:
        """Start a candidate again whose node was lost, unless that happened too often, and return the error to report."""
        self.losses[engine] += 1
        if self.losses[engine] > MOST_LOSSES:
            cause = f"The node that measured it was lost {self.losses[engine]} times ({error})."
            remedy = "Look at the nodes, then resume the job: finished trials are kept."
            return WorkbenchError(cause, remedy=remedy)
        cause = f"The node that measured it was lost after {len(self.parts.trials(engine))} trials ({error})."
        self._start(engine)
        return Interruption(cause, remedy="Nothing: the other trials were measured on another node.")


def measured_candidate(
    spec: EngineSweepSpec, engine: str, known: Mapping[float, bool]
) -> Iterator[Progress | Part | TaskError]:
    """Yield, on a node, what one candidate's measurement yields."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        try:
            yield from Trials(spec, engine, Path(folder), known=known).events()
        except WorkbenchError as error:
            is_available = not isinstance(error, NotAvailable)
            yield TaskError(cause=error.cause, remedy=error.remedy, is_available=is_available)
