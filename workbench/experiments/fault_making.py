"""How faults are made and taken back on one machine, each with a proof that it took effect.

The proof comes from where the fault is made (the proxy's counts, the burden's processor time, what the server announces), not from what a
diagnosis reads.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from workbench.core.load import LoadSpec
from workbench.core.runs import Run
from workbench.experiments.observation import Observation
from workbench.testing.burden import Burden
from workbench.testing.child_process import ChildProcess
from workbench.testing.network_proxy import NetworkProxy, Way

Proof = tuple[bool, str]
PAUSE_EVERY_S = 2.5
MOST_FILLED_BYTES = 24 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A running server and the healthy load on it."""

    port: int
    pid: int
    load: LoadSpec
    is_gpu: bool = False


@dataclass(slots=True, kw_only=True)
class Episode:
    """What a fault changes: the load that is sent, and how to prove the fault after it."""

    load: LoadSpec
    proof: Callable[[Run, Observation, Observation], Proof]


Change = Callable[[Stage, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, or a healthy change (``cause`` None)."""

    name: str
    cause: str | None
    doses: Mapping[str, Any]
    """Dose by name; the value is what ``begin`` takes."""
    begin: Change
    """Context manager of stage and dose, giving an ``Episode``."""
    options: Mapping[str, Callable[[Any], "ServerOptions"]] = field(default_factory=dict)
    """By engine: how the server is started with the fault, where it needs another start."""
    busy: float = 1.0
    """Where it shows on a busy server only: baseline and fault get so many times the requests."""
    why_not: Callable[[bool], str | None] = lambda is_gpu: None  # noqa: ARG005
    """Reason why this machine cannot have it, given whether the server computes on a GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """A server that is started differently."""

    extra: Sequence[str] = ()
    kv_factor: float = 1.0
    max_num_seqs: int | None = None
    slow_tokenizer_s: float = 0.0
    """Per token of a prompt."""
    random_weights: bool = False
    other_precision: bool = False


def load_change(change: Callable[[LoadSpec, Any], LoadSpec], name: str) -> Change:
    """A fault of what is sent; proven by the requests that were sent."""

    @contextmanager
    def begin(stage: Stage, dose: Any) -> Iterator[Episode]:
        def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
            before, after = a.values[name], b.values[name]
            return abs(after / before - 1) > 0.15, f"{name} sent {before:.3g} → {after:.3g}"

        yield Episode(load=change(stage.load, dose), proof=proof)

    return begin


def times(what: str) -> Callable[[LoadSpec, Any], LoadSpec]:
    """A load with a quantity so many times as large."""

    def change(load: LoadSpec, factor: Any) -> LoadSpec:
        value = getattr(load, what) * factor
        return replace(load, **{what: round(value) if what.endswith("tokens") else value})

    return change


@contextmanager
def salted(stage: Stage, dose: Any) -> Iterator[Episode]:
    """Prompts whose shared beginning is gone, by so much of it."""

    def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
        return (
            True,
            f"shared first words of the prompts sent {stage.load.shared_prefix_tokens} → {load.shared_prefix_tokens}",
        )

    load = replace(stage.load, shared_prefix_tokens=round(stage.load.shared_prefix_tokens * (1 - dose)))
    yield Episode(load=load, proof=proof)


@contextmanager
def burdened(stage: Stage, dose: Any) -> Iterator[Episode]:
    """Programs that only compute, so many for each core of the machine."""
    with Burden(processes=max(1, round(dose * len(os.sched_getaffinity(0))))) as burden:

        def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
            cores = burden.cores_used()
            return cores > 0.2, f"the burden used {cores:.2f} cores"

        yield Episode(load=stage.load, proof=proof)


@contextmanager
def filled(stage: Stage, dose: Any) -> Iterator[Episode]:
    """Programs that fill so much of the memory and write it again and again."""
    with Burden(processes=2, memory_fraction=dose) as burden:

        def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
            held = burden.resident_bytes()
            return held > 0.1 * psutil.virtual_memory().total, f"the burden held {held / 2**30:.1f} GiB"

        yield Episode(load=stage.load, proof=proof)


def too_much_memory(is_gpu: bool) -> str | None:  # noqa: ARG001
    """Why the memory of this machine cannot be filled."""
    total = psutil.virtual_memory().total
    if 0.4 * total > MOST_FILLED_BYTES:
        return f"filling 40 % of {total / 2**30:.0f} GiB takes too long"
    return None


@contextmanager
def confined(stage: Stage, dose: Any) -> Iterator[Episode]:
    """The server's threads on fewer cores, as a wrong cpuset does."""
    family = [psutil.Process(stage.pid), *psutil.Process(stage.pid).children(recursive=True)]
    threads = [t.id for p in family for t in p.threads()]
    before = os.sched_getaffinity(stage.pid)
    allowed = set(sorted(before)[: max(1, round(len(before) * dose))])

    def confine(to: set[int]) -> None:
        for thread in threads:
            try:
                os.sched_setaffinity(thread, to)
            except ProcessLookupError:
                continue

    def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
        now = os.sched_getaffinity(stage.pid)
        return len(now) < len(before), f"the kernel lets it use {len(now)} of {len(before)} cores"

    confine(allowed)
    try:
        yield Episode(load=stage.load, proof=proof)
    finally:
        confine(before)


def one_core(is_gpu: bool) -> str | None:  # noqa: ARG001
    """Why a process of this machine cannot be confined."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return "there is one core only, or no way to confine a process"
    return None


def way(make: Callable[[Any], Way], count: str) -> Change:
    """A fault of the way to the server; proven by the proxy's counts."""

    @contextmanager
    def begin(stage: Stage, dose: Any) -> Iterator[Episode]:
        with NetworkProxy(stage.port, replace(make(dose), seed=stage.load.seed)) as proxy:

            def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
                counts = proxy.counts()
                return counts[count] > 0, ", ".join(f"{n} {name}" for name, n in counts.items())

            yield Episode(load=replace(stage.load, url=proxy.url, server_pid=stage.pid), proof=proof)

    return begin


@contextmanager
def paused(stage: Stage, dose: Any) -> Iterator[Episode]:
    """Stop the server's processes for a while, again and again."""
    over = threading.Event()
    stopped: list[float] = []
    family = [stage.pid, *(c.pid for c in psutil.Process(stage.pid).children(recursive=True))]

    def tell(number: signal.Signals) -> None:
        for pid in family:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def pause() -> None:
        while not over.wait(PAUSE_EVERY_S):
            tell(signal.SIGSTOP)
            try:
                over.wait(dose)
            finally:
                tell(signal.SIGCONT)
            stopped.append(dose)

    def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
        return len(stopped) > 1, f"stopped {len(stopped)} times for {dose:g} s"

    thread = threading.Thread(target=pause, daemon=True)
    thread.start()
    try:
        yield Episode(load=stage.load, proof=proof)
    finally:
        over.set()
        thread.join()
        tell(signal.SIGCONT)


@contextmanager
def neighboured(stage: Stage, dose: Any) -> Iterator[Episode]:
    """Another program on the same GPU."""
    device = "cuda" if stage.is_gpu else "cpu"
    with ChildProcess("workbench.ops.gpu_burden", str(dose), "--device", device) as child:

        def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
            n = int(child.asked())
            return n > 10, f"the neighbour made {n} products"

        yield Episode(load=stage.load, proof=proof)


def no_gpu(is_gpu: bool) -> str | None:
    """Why there can be no neighbour."""
    return None if is_gpu else "the server does not compute on a GPU"


@contextmanager
def same_load(stage: Stage, dose: Any) -> Iterator[Episode]:  # noqa: ARG001
    """The healthy load on a server that was started differently; proven by what the server announces or answers."""

    def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
        before, after = a.server.get("limits"), b.server.get("limits")
        differ = a.answers != b.answers
        return (
            before != after or differ,
            f"announced {before} → {after}; answers {'differ' if differ else 'are the same'}",
        )

    yield Episode(load=stage.load, proof=proof)


@contextmanager
def tokenizer(stage: Stage, dose: Any) -> Iterator[Episode]:
    """The healthy load on a server whose tokenizer takes so many seconds longer per token; proven by ``/tokenize``."""

    def proof(run: Run, a: Observation, b: Observation) -> Proof:
        before, after = a.values["tokenizing_s"], b.values["tokenizing_s"]
        wanted = dose * run.spec["input_tokens"]
        return (
            after - before > 0.2 * wanted,
            f"/tokenize {1000 * before:.1f} → {1000 * after:.1f} ms, {dose:g} s per token put in",
        )

    yield Episode(load=stage.load, proof=proof)


@contextmanager
def healthy(stage: Stage, dose: Any) -> Iterator[Episode]:
    """A healthy load; the dose changes it a little."""

    def proof(run: Run, a: Observation, b: Observation) -> Proof:  # noqa: ARG001
        return True, "healthy"

    yield Episode(load=dose(stage.load), proof=proof)
