"""A sweep on a Ray cluster: one task for each candidate; what a lost node had finished is kept, the rest runs again."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.core.engine_sweep import EngineSweepSpec
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.progress import Progress
from workbench.experiments.engine_sweep import Interruption, Parts
from workbench.experiments.engine_trials import Part, Trials

MOST_LOSSES = 3
WAIT_S = 1.0
CONNECT_S = 5.0
OWN_CLUSTER = "local"


def on_cluster(spec: EngineSweepSpec, parts: Parts) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
    """The trials of a sweep, measured by tasks on the cluster that the spec names.

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


def _connected(spec: EngineSweepSpec) -> Any:
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
    return ray


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


class _Tasks:
    """The tasks of one sweep; ``running`` maps the stream of a task to its candidate."""

    def __init__(self, ray: Any, spec: EngineSweepSpec, parts: Parts) -> None:
        self.ray, self.spec, self.parts = ray, spec, parts
        self.remote = ray.remote(max_retries=0, num_cpus=spec.n_cpus, num_gpus=spec.n_gpus)(measured_candidate)
        self.running: dict[Any, str] = {}
        self.losses = dict.fromkeys(spec.engines, 0)

    def _start(self, engine: str) -> None:
        stream = self.remote.remote(self.spec.to_dict(), engine, self.parts.outcomes(self.spec, engine))
        self.running[stream] = engine

    def items(self) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
        """What the tasks hand over, in the order of its arrival."""
        for engine in self.spec.engines:
            self._start(engine)
        while self.running:
            ready, _ = self.ray.wait(list(self.running), timeout=WAIT_S)
            for stream in ready:
                yield from self._next(stream)

    def _next(self, stream: Any) -> Iterator[tuple[str, Progress | Part | WorkbenchError]]:
        engine = self.running[stream]
        try:
            item = self.ray.get(next(stream))
        except StopIteration:
            del self.running[stream]
            return
        except self.ray.exceptions.RayTaskError as error:
            del self.running[stream]
            yield (
                engine,
                WorkbenchError(
                    f"The task stopped with {str(error).strip().splitlines()[-1]}",
                    remedy="The node's Ray log has the rest.",
                ),
            )
            return
        except self.ray.exceptions.RayError as error:  # the node or its worker is gone
            del self.running[stream]
            self.losses[engine] += 1
            if self.losses[engine] > MOST_LOSSES:
                yield (
                    engine,
                    WorkbenchError(
                        f"The node that measured it was lost {self.losses[engine]} times ({type(error).__name__}).",
                        remedy="Look at the nodes, then resume the job: finished trials are kept.",
                    ),
                )
                return
            n_kept = len(self.parts.trials(engine))
            yield (
                engine,
                Interruption(
                    f"The node that measured it was lost after {n_kept} trials ({type(error).__name__}).",
                    remedy="Nothing: the other trials were measured on another node.",
                ),
            )
            self._start(engine)
            return
        if isinstance(item, dict):
            kind = NotAvailable if item["kind"] == "NotAvailable" else WorkbenchError
            item = kind(item["cause"], remedy=item["remedy"])
        yield engine, item


def measured_candidate(
    spec: Mapping[str, Any], engine: str, known: Mapping[float, bool]
) -> Iterator[Progress | Part | dict[str, str]]:
    """Runs on a node: what one candidate's measurement yields; an error as kind, cause and remedy."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        try:
            yield from Trials(EngineSweepSpec.from_dict(spec), engine, Path(folder), known=known).events()
        except WorkbenchError as error:
            yield {"kind": type(error).__name__, "cause": error.cause, "remedy": error.remedy}
