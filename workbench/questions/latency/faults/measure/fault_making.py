"""How faults are injected and removed on one machine, each with a proof that it took effect.

The proof comes from where the fault is injected (the proxy's counts, the burden's processor time, what the server announces), not from what a
diagnosis reads.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar, get_args

import psutil

from workbench.apparatus.burden import Burden
from workbench.apparatus.child_process import ChildProcess
from workbench.apparatus.network_proxy import NetworkProxy, Way
from workbench.core.language import gettext_noop
from workbench.load.spec import LoadSpec
from workbench.questions.latency.faults.spec import FaultEngine
from workbench.questions.latency.findings.observation import Observation

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
class Injection:
    """An injected fault: the load to send, and the proof of the fault after that load."""

    load: LoadSpec
    proof: Callable[[Observation, Observation], Proof]
    """Proof from the observations of the healthy load and of this one."""


D = TypeVar("D")
Change: TypeAlias = Callable[[Stage, D], AbstractContextManager[Injection]]
"""Context manager that injects a dose of a fault, and removes it at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Options of a server that is started differently."""

    kv_factor: float = 1.0
    max_num_seqs: int | None = None
    slow_tokenizer_s: float = 0.0
    """Extra time of the tokenizer per token of a prompt."""
    random_weights: bool = False
    other_precision: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """One strength of a fault, and how it is injected."""

    begin: Callable[[Stage], AbstractContextManager[Injection]]
    options: ServerOptions | None = None
    """How the server is started, where the fault needs a restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault, or a healthy change (``cause`` None)."""

    name: str
    cause: str | None
    doses: Mapping[str, Dose]
    engines: tuple[str, ...] = get_args(FaultEngine)
    """Engines that the fault can be injected into."""
    busy: float = 1.0
    """Factor on the request rate of baseline and fault, for a fault that shows on a busy server only."""
    why_not: Callable[[bool], str | None] = lambda _: None
    """Reason why this machine does not allow the fault, given whether the server computes on a GPU."""


def load_multiplied(what: str, observed: str = "") -> Change[float]:
    """Return a fault that multiplies a quantity of the load; proven by the requests that were sent."""
    name = observed or what

    def proof(a: Observation, b: Observation) -> Proof:
        before, after = a.values[name], b.values[name]
        return abs(after / before - 1) > 0.15, gettext_noop("{name} sent {before:.3g} → {after:.3g}").format(
            name=name, before=before, after=after
        )

    @contextmanager
    def begin(stage: Stage, dose: float) -> Iterator[Injection]:
        value = getattr(stage.load, what) * dose
        load = replace(stage.load, **{what: round(value) if what.endswith("tokens") else value})
        yield Injection(load=load, proof=proof)

    return begin


@contextmanager
def shorten_prefix(stage: Stage, dose: float) -> Iterator[Injection]:
    """Send prompts whose shared prefix is shorter by the dose, a share of it."""
    before = stage.load.shared_prefix_tokens
    after = round(before * (1 - dose))
    text = gettext_noop("shared prefix of the prompts sent {before} → {after} tokens").format(
        before=before, after=after
    )
    yield Injection(load=replace(stage.load, shared_prefix_tokens=after), proof=lambda *_: (True, text))


@contextmanager
def occupy_processor(stage: Stage, dose: float) -> Iterator[Injection]:
    """Run programs that keep cores busy; the dose is their number per core of the machine."""
    with Burden(processes=max(1, round(dose * len(os.sched_getaffinity(0))))) as burden:

        def proof(*_: Observation) -> Proof:
            cores = burden.cores_used()
            return cores > 0.2, gettext_noop("the other programs used {cores:.2f} cores").format(cores=cores)

        yield Injection(load=stage.load, proof=proof)


@contextmanager
def fill_memory(stage: Stage, dose: float) -> Iterator[Injection]:
    """Run programs that fill a share of the memory and keep writing to it."""
    with Burden(processes=2, memory_fraction=dose) as burden:

        def proof(*_: Observation) -> Proof:
            held = burden.resident_bytes()
            return held > 0.1 * psutil.virtual_memory().total, gettext_noop(
                "the other programs held {held:.1f} GiB"
            ).format(held=held / 2**30)

        yield Injection(load=stage.load, proof=proof)


def too_much_memory(_is_gpu: bool) -> str | None:
    """Return why the memory of this machine cannot be filled; None where it can."""
    total = psutil.virtual_memory().total
    return (
        gettext_noop("filling 40 % of {total:.0f} GiB takes too long").format(total=total / 2**30)
        if 0.4 * total > MOST_FILLED_BYTES
        else None
    )


def _family(pid: int) -> list[psutil.Process]:
    return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]


@contextmanager
def restrict_cores(stage: Stage, dose: float) -> Iterator[Injection]:
    """Restrict the server's threads to fewer cores, as a wrong cpuset does."""
    threads = [t.id for p in _family(stage.pid) for t in p.threads()]
    before = os.sched_getaffinity(stage.pid)

    def confine(cores: set[int]) -> None:
        for thread in threads:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)

    def proof(*_: Observation) -> Proof:
        now = os.sched_getaffinity(stage.pid)
        return len(now) < len(before), gettext_noop("the kernel lets it use {now} of {before} cores").format(
            now=len(now), before=len(before)
        )

    confine(set(sorted(before)[: max(1, round(len(before) * dose))]))
    try:
        yield Injection(load=stage.load, proof=proof)
    finally:
        confine(before)


def one_core(_is_gpu: bool) -> str | None:
    """Return why a process of this machine cannot be restricted to fewer cores; None where it can."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return gettext_noop("there is only one core, or no way to set the affinity of a process")
    return None


def network_fault(make: Callable[[float], Way], count: str) -> Change[float]:
    """Return a fault of the network between client and server; proven by the proxy's counts."""

    @contextmanager
    def begin(stage: Stage, dose: float) -> Iterator[Injection]:
        with NetworkProxy(stage.port, replace(make(dose), seed=stage.load.seed)) as proxy:

            def proof(*_: Observation) -> Proof:
                counts = proxy.counts()
                return counts[count] > 0, ", ".join(f"{n} {name}" for name, n in counts.items())

            yield Injection(load=replace(stage.load, url=proxy.url, server_pid=stage.pid), proof=proof)

    return begin


@contextmanager
def pause_server(stage: Stage, dose: float) -> Iterator[Injection]:
    """Stop and continue the server's processes at intervals; the dose is the length of a pause in seconds."""
    over, n_pauses, family = threading.Event(), 0, [p.pid for p in _family(stage.pid)]

    def signal_all(number: signal.Signals) -> None:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def pause() -> None:
        nonlocal n_pauses
        while not over.wait(PAUSE_EVERY_S):
            signal_all(signal.SIGSTOP)
            over.wait(dose)
            signal_all(signal.SIGCONT)
            n_pauses += 1

    thread = threading.Thread(target=pause, daemon=True)
    thread.start()
    try:
        yield Injection(
            load=stage.load,
            proof=lambda *_: (
                n_pauses > 1,
                gettext_noop("paused {n_pauses} times for {dose:g} s").format(n_pauses=n_pauses, dose=dose),
            ),
        )
    finally:
        over.set()
        thread.join()
        signal_all(signal.SIGCONT)


@contextmanager
def share_gpu(stage: Stage, dose: float) -> Iterator[Injection]:
    """Run another program on the same GPU; the dose is the share of the time that it computes."""
    device = "cuda" if stage.is_gpu else "cpu"
    with ChildProcess("workbench.apparatus.gpu_burden", str(dose), "--device", device) as child:

        def proof(*_: Observation) -> Proof:
            n = int(child.asked())
            return n > 10, gettext_noop("the other program computed {n} matrix products").format(n=n)

        yield Injection(load=stage.load, proof=proof)


def no_gpu(is_gpu: bool) -> str | None:
    """Return why the GPU cannot be shared with another program; None where it can."""
    return None if is_gpu else gettext_noop("the server does not compute on a GPU")


@contextmanager
def send_healthy_load(stage: Stage, _dose: object) -> Iterator[Injection]:
    """Send the healthy load to a server that was started differently; proven by what the server announces or answers."""

    def proof(a: Observation, b: Observation) -> Proof:
        before, after = (o.server.limits if o.server else None for o in (a, b))
        differ = a.answers != b.answers
        answers = gettext_noop("answers differ") if differ else gettext_noop("answers are the same")
        return before != after or differ, gettext_noop("announced {before} → {after}; {answers}").format(
            before=before, after=after, answers=answers
        )

    yield Injection(load=stage.load, proof=proof)


@contextmanager
def slow_tokenizer(stage: Stage, dose: float) -> Iterator[Injection]:
    """Send the healthy load to a server whose tokenizer takes ``dose`` seconds longer per token; proven by ``/tokenize``."""

    def proof(a: Observation, b: Observation) -> Proof:
        before, after = a.values["tokenizing_s"], b.values["tokenizing_s"]
        text = gettext_noop("/tokenize {before:.1f} → {after:.1f} ms, {dose:g} s per token injected").format(
            before=1000 * before, after=1000 * after, dose=dose
        )
        return after - before > 0.2 * dose * stage.load.input_tokens, text

    yield Injection(load=stage.load, proof=proof)


@contextmanager
def change_load(stage: Stage, change: Callable[[LoadSpec], LoadSpec]) -> Iterator[Injection]:
    """Send a healthy load that is slightly changed."""
    yield Injection(load=change(stage.load), proof=lambda *_: (True, "healthy"))
