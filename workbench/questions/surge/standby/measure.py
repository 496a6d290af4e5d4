"""A replica from nothing, idle and asleep: from the decision that it is needed to the first token of its answer, through a running gateway."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Self

import psutil

from workbench.apparatus.gateway_process import ANYBODY, GatewayProcess, gateway_process
from workbench.catalog.paths import located
from workbench.core.devices import Device
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext_noop
from workbench.core.ports import Generation
from workbench.core.progress import SCRATCH, Progress
from workbench.core.rows import Failure
from workbench.engines.hosted import NAME, Hosted, hosted
from workbench.engines.http import EngineFailed, HttpEngine
from workbench.engines.server import ServerFailed, ServerRoom, free_port, healthy, last_error
from workbench.engines.sleep_mode import SLEEP_FLAGS, SLEEP_VARIABLES, fall_asleep, wake_up
from workbench.engines.vllm import LaunchParts
from workbench.load.rounds import prompt_words, prompts_of
from workbench.measuring.envelope import Record
from workbench.questions.surge.standby.rows import NO_SLEEP, ColdStart, StandbySamples, StandbyState, State
from workbench.questions.surge.standby.spec import StandbySpec
from workbench.telemetry.devices import chosen_device, gpu_devices

LEVELS = (1, 2)
ADD_LIMIT_S = 30.0
"""Within which the gateway must send a request to a replica that it was given."""
PAUSE_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One answer of a replica out of a state of waiting."""

    ready_s: float
    gateway_s: float
    ttft_s: float
    answer: tuple[int | str, ...]
    asleep_s: float | None = None
    device_bytes: float | None = None
    host_bytes: float | None = None
    machine_bytes: float | None = None

    @property
    def first_token_s(self) -> float:
        """Return the time from the decision to the first token."""
        return self.ready_s + self.gateway_s + self.ttft_s


def measure(spec: StandbySpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record: cold starts first; the last one stays, waits idle, and sleeps."""
    device = record.device = chosen_device(spec.device)
    total, taken = float(spec.cold + 1 + len(LEVELS)), dict[State, list[Asked]]()
    wish, before, starts = _wish(spec), InUse.now(), list[ColdStart]()
    yield Progress(step=gettext_noop("starting the gateway"), done=0, total=total)
    with gateway_process(ServerRoom(record.folder), record.folder, _configuration()) as gateway:
        bench = Bench(spec=spec, gateway=gateway, wish=wish, before=before)
        for number in range(spec.cold):
            yield Progress(
                step=gettext_noop("cold start {number}").format(number=number + 1), done=float(number), total=total
            )
            with _replica(spec, record, device) as server:
                _note_version(record, spec, server)
                taken.setdefault("cold" if number else "cold-first", []).append(bench.started(server))
                starts.append(cold_start(server))
                if number < spec.cold - 1:
                    continue
                yield Progress(step=gettext_noop("idle"), done=float(spec.cold), total=total)
                taken["idle"] = [bench.idle(server) for _ in range(spec.repeats)]
                left_out: dict[State, str] = {}
                for level in LEVELS:
                    state: State = "sleep-1" if level == 1 else "sleep-2"
                    yield Progress(
                        step=gettext_noop("sleep level {level}").format(level=level),
                        done=float(spec.cold + level),
                        total=total,
                    )
                    reason = why_not(spec, device, level) or (left_out and NO_SLEEP[3])
                    if reason:
                        left_out[state] = reason
                        continue
                    try:
                        taken[state] = [bench.asleep(server, level=level) for _ in range(spec.repeats)]
                    except WorkbenchError as error:
                        left_out[state] = error.cause
                        record.failures.append(Failure.of(error, state))
    reference = taken["cold-first"][0].answer
    record.rows += [row_of(state, found, reference) for state, found in taken.items()]
    record.rows += [StandbyState(state=state, reason=reason) for state, reason in left_out.items()]
    record.rows += starts
    record.samples = StandbySamples(
        ready_s={s: [round(a.ready_s, 4) for a in found] for s, found in taken.items()},
        gateway_s={s: [round(a.gateway_s, 4) for a in found] for s, found in taken.items()},
        ttft_s={s: [round(a.ttft_s, 4) for a in found] for s, found in taken.items()},
        engine_version=server.version,
    )


def why_not(spec: StandbySpec, device: Device, level: int) -> str | None:
    """Return why a replica cannot sleep at a level and wake up; None where it can."""
    if spec.engine != "vllm":
        return NO_SLEEP[0].format(engine=spec.engine)
    if device.kind != "cuda":
        return NO_SLEEP[1]
    return NO_SLEEP[2] if level == 2 and spec.has_dummy_weights else None


def row_of(state: State, taken: Sequence[Asked], reference: tuple[int | str, ...]) -> StandbyState:
    """Return what the repeats of one state say."""
    totals = [a.first_token_s for a in taken]
    is_first = state == "cold-first"
    return StandbyState(
        state=state,
        n=len(taken),
        first_token_s=median(totals),
        least_s=min(totals),
        most_s=max(totals),
        ready_s=median(a.ready_s for a in taken),
        gateway_s=median(a.gateway_s for a in taken),
        ttft_s=median(a.ttft_s for a in taken),
        asleep_s=_median([a.asleep_s for a in taken]),
        device_bytes=_median([a.device_bytes for a in taken]),
        host_bytes=_median([a.host_bytes for a in taken]),
        machine_bytes=_median([a.machine_bytes for a in taken]),
        is_same_answer=None if is_first else all(a.answer == reference for a in taken),
    )


def cold_start(server: Hosted) -> ColdStart:
    """Return what a launch took, and what its log says of it."""
    assert server.startup_s is not None
    assert server.log is not None
    parts = LaunchParts.of(Path(server.log).read_text(encoding="utf-8", errors="replace"))
    return ColdStart(launch_s=server.startup_s, **asdict(parts))


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return median(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """Memory of this machine that is in use, in bytes."""

    devices: float | None
    """Of all GPUs; None without one."""
    host: float

    @classmethod
    def now(cls) -> Self:
        """Return what is in use at this moment, as NVML and the system say."""
        gpus, _ = gpu_devices()
        memory = psutil.virtual_memory()
        devices = float(sum(d.memory_bytes - d.free_bytes for d in gpus)) if gpus else None
        return cls(devices=devices, host=float(memory.total - memory.available))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Asks a replica out of each state through the gateway, which sends to nobody before."""

    spec: StandbySpec
    gateway: GatewayProcess
    wish: Generation
    before: InUse
    """Memory in use before the first launch."""

    def started(self, server: Hosted) -> Asked:
        """Return the first answer of a replica that was just started."""
        assert server.startup_s is not None
        self._left()
        gateway_s, ttft_s, answer = self._answered(server)
        return Asked(ready_s=server.startup_s, gateway_s=gateway_s, ttft_s=ttft_s, answer=answer)

    def idle(self, server: Hosted) -> Asked:
        """Return an answer of a replica that was loaded and idle for a while."""
        return self._after(server, ready=lambda: None, asleep_s=None)

    def asleep(self, server: Hosted, *, level: int) -> Asked:
        """Return an answer of a replica that slept for a while; raises ``SleepFailed`` where it cannot, or does not wake."""
        began = time.perf_counter()
        fall_asleep(server.url, level=level)
        asleep_s = time.perf_counter() - began
        return self._after(server, ready=lambda: wake_up(server.url, level=level), asleep_s=asleep_s)

    def _after(self, server: Hosted, *, ready: Callable[[], None], asleep_s: float | None) -> Asked:
        self._left()
        time.sleep(self.spec.wait_s)
        now, host_bytes = InUse.now(), family_bytes(server.pid)
        decided = time.perf_counter()
        ready()
        ready_s = time.perf_counter() - decided
        gateway_s, ttft_s, answer = self._answered(server)
        return Asked(
            ready_s=ready_s,
            gateway_s=gateway_s,
            ttft_s=ttft_s,
            answer=answer,
            asleep_s=asleep_s,
            device_bytes=None if now.devices is None else now.devices - (self.before.devices or 0.0),
            host_bytes=host_bytes,
            machine_bytes=now.host - self.before.host,
        )

    def _left(self) -> None:
        """Take the replica away from the gateway; returns when it answers that it has none."""
        self.gateway.send_to(_nobody())
        engine, began = HttpEngine(self.gateway.url, NAME), time.monotonic()
        while time.monotonic() - began < ADD_LIMIT_S:
            try:
                engine.models()
            except EngineFailed:
                return
            time.sleep(PAUSE_S)
        raise ServerFailed(
            "The gateway keeps a replica that was taken away.", remedy="Report it with the gateway's log."
        )

    def _answered(self, server: Hosted) -> tuple[float, float, tuple[int | str, ...]]:
        """Return how long the gateway took to send to the replica, the TTFT of the request that went through, and its answer."""
        began = time.perf_counter()
        self.gateway.send_to(server.url)
        engine = HttpEngine(self.gateway.url, NAME)
        while True:
            sent = time.perf_counter()
            try:
                events = list(engine.generate(self.wish))
                if not events:
                    raise EngineFailed("The answer was empty.", remedy="See the server's log.")
                break
            except EngineFailed as error:
                if not healthy(server.url):
                    said = last_error(Path(server.log)) if server.log else error.cause
                    raise ServerFailed(
                        f"The replica ended while it was measured: {said}", remedy="See its log."
                    ) from error
                if sent - began > ADD_LIMIT_S:
                    raise
            time.sleep(PAUSE_S)
        answer: tuple[int | str, ...] = ("".join(e.text for e in events), *(t for e in events for t in e.token_ids))
        return sent - began, events[0].at_s - sent, answer


def family_bytes(pid: int | None) -> float | None:
    """Return the memory of a process and all that it started, shared pages counted once (Linux), else their resident memory."""
    if pid is None:
        return None
    total = 0.0
    with suppress(psutil.Error):
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            with suppress(psutil.Error):
                said = process.memory_full_info()
                total += getattr(said, "pss", said.rss)
    return total or None


def _wish(spec: StandbySpec) -> Generation:
    words = prompt_words(located(spec.model))
    (prompt,) = prompts_of(words, 1, n_tokens=spec.input_tokens, rng=random.Random(f"standby {spec.seed}"))
    return Generation(prompt=prompt, max_tokens=spec.output_tokens, ignore_eos=True)


def _nobody() -> str:
    """Return the address of a server that is none."""
    return f"http://127.0.0.1:{free_port()}"


def _configuration() -> dict[str, object]:
    return {"anonymous": ANYBODY, "upstreams": [{"name": "engine", "url": _nobody()}]}


def _replica(spec: StandbySpec, record: Record, device: Device) -> AbstractContextManager[Hosted]:
    """Return a launch whose compiled code is kept for the next launch of this measurement, and found by no other."""
    flags: tuple[str, ...] = ()
    if spec.engine == "vllm":
        flags = ("--no-enable-prefix-caching", *(SLEEP_FLAGS if device.kind == "cuda" else ()), *spec.flags)
    return hosted(
        spec.engine,
        spec.model,
        folder=record.folder,
        device=device.kind,
        extra=flags,
        variables={**SLEEP_VARIABLES, "VLLM_CACHE_ROOT": str(record.folder / SCRATCH / "vllm")},
        random_weights=spec.random_weights,
        ending=record.others.ending,
    )


def _note_version(record: Record, spec: StandbySpec, server: Hosted) -> None:
    if server.version:
        record.packages[spec.engine] = server.version.rpartition(" ")[2]
