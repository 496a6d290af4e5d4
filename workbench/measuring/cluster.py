"""Measurements on the nodes of a Ray cluster: what a lost node had finished is kept, the rest runs again elsewhere."""

import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Protocol

from workbench.core.errors import NotAvailable, WorkbenchError, system_reason
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.runs import Run
from workbench.measuring.envelope import Record, measured
from workbench.measuring.kept import Kept

MOST_LOSSES = 3
CONNECT_S = 5.0
OWN_CLUSTER = "local"


class ClusterSpec(Protocol):
    """A spec that may be measured on a cluster."""

    @property
    def cluster(self) -> str | None:
        """Address of a cluster; None: measured here."""

    @property
    def n_cpus(self) -> float:
        """Cores that a task asks for."""

    @property
    def n_gpus(self) -> float:
        """GPUs that a task asks for."""


def connected(spec: ClusterSpec) -> ModuleType:
    """Return Ray, connected to the cluster of a spec.

    Raises:
        NotAvailable: Ray is not installed, the cluster does not answer, or no node has the resources.
    """
    try:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
    except ImportError as error:
        raise NotAvailable(
            gettext("Ray is not installed."),
            remedy=gettext("Install it with: pip install 'inference-workbench[cluster]'"),
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
            gettext("No node of the cluster has {cpus} CPU and {gpus} GPU; the most on one is {most}.").format(
                cpus=f"{spec.n_cpus:g}", gpus=f"{spec.n_gpus:g}", most=most
            ),
            remedy=gettext("Ask for less, or add a node."),
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
            raise _no_answer(address, system_reason(error)) from error


def _no_answer(address: str, reason: str) -> NotAvailable:
    remedy = gettext("Check the address and `ray status` there, or use {own}.").format(own=repr(OWN_CLUSTER))
    return NotAvailable(
        gettext("The Ray cluster {address} does not answer: {reason}.").format(address=address, reason=reason),
        remedy=remedy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """An error of a task, in a form that reaches this process whatever its class."""

    cause: str
    remedy: str
    is_available: bool
    """Whether it can be measured there at all."""

    @classmethod
    def of(cls, error: WorkbenchError) -> "TaskError":
        """Return an error in this form."""
        return cls(cause=error.cause, remedy=error.remedy, is_available=not isinstance(error, NotAvailable))

    def error(self) -> WorkbenchError:
        """Return the error as it was raised."""
        return (WorkbenchError if self.is_available else NotAvailable)(self.cause, remedy=self.remedy)


def stopped(error: Exception) -> WorkbenchError:
    """Return the error to report of a task that ended with one of its own."""
    cause = gettext("The task stopped with {error}").format(error=str(error).strip().splitlines()[-1])
    return WorkbenchError(cause, remedy=gettext("The node's Ray log has the rest."))


def lost_too_often(n_losses: int, error: str) -> WorkbenchError:
    """Return the error to report where nodes are lost again and again."""
    return WorkbenchError(
        gettext("The node that measured it was lost {n} times ({error}).").format(n=n_losses, error=error),
        remedy=gettext("Look at the nodes, then resume the job: finished trials are kept."),
    )


def measured_on_node(spec: ClusterSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress of a spec's whole measurement on one node, whose parts are kept here as soon as they are finished.

    Where the node is lost, another one goes on with these parts. The record is filled as if it had been measured here.
    """
    ray = connected(spec)
    task = ray.remote(max_retries=0, num_cpus=spec.n_cpus, num_gpus=spec.n_gpus)(_measurement)
    losses, stream = 0, None
    try:
        while True:
            if stream is None:
                stream = task.remote(replace(spec, cluster=None), record.kept.files())  # type: ignore[type-var]
            try:
                item = ray.get(next(stream))
            except StopIteration:
                return
            except ray.exceptions.RayTaskError as error:
                raise stopped(error) from error
            except ray.exceptions.RayError as error:  # the node or its worker is gone
                losses += 1
                if losses > MOST_LOSSES:
                    raise lost_too_often(losses, type(error).__name__) from error
                cause = f"The node that measured it was lost with {len(record.kept.files())} parts finished ({type(error).__name__})."
                record.failures.append(Failure(cause=cause, remedy="Nothing: another node went on from there."))
                stream = None
                continue
            if isinstance(item, TaskError):
                raise item.error()
            if isinstance(item, Progress):
                yield item
            elif isinstance(item, Run):
                _take_over(item, record)
            else:
                record.kept.add(item)
    finally:
        ray.shutdown()


def _take_over(done: Run, record: Record) -> None:
    record.rows += done.results
    record.samples = done.samples
    record.failures += done.failures
    record.environment, record.provenance = done.environment, done.provenance


def _measurement(spec: object, parts: Mapping[str, str]) -> Iterator[Progress | Run | TaskError | dict[str, str]]:
    """Yield, on a node, what a measurement yields, and its parts as soon as they are finished."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        kept, known = Kept(Path(folder)), dict(parts)
        kept.add(known)
        try:
            for item in measured(spec, Path(folder)):  # type: ignore[arg-type]
                if new := {name: text for name, text in kept.files().items() if known.get(name) != text}:
                    known |= new
                    yield new
                yield item
        except WorkbenchError as error:
            yield TaskError.of(error)
