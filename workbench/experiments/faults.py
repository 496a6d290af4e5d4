"""The fault suite: a real engine, faults with known causes, healthy controls, and who finds what."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.catalog.paths import located
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.faults import FaultsSpec
from workbench.core.load import LoadSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.experiments import load
from workbench.experiments.diagnosis import diagnosis_of
from workbench.experiments.fault_list import FAULTS
from workbench.experiments.fault_making import Episode, Fault, ServerOptions, Stage
from workbench.experiments.fault_scores import OURS, by_fault, scores
from workbench.experiments.naive_diagnosis import METHODS
from workbench.experiments.observation import Observation, observe
from workbench.experiments.serving import launch_for, with_random_weights
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment
from workbench.telemetry.metrics_source import MetricsSource
from workbench.telemetry.sampler import SourceLost

KIND = "faults"
NAME = "model"
START_TIMEOUT_S = 600.0
TELEMETRY_HZ = 5.0
LOOK_EVERY_S = 1.0
SHARED_FRACTION = 0.8  # of a prompt: a system prompt that all requests share
WARM_UP_S = 3.0
TIMEOUT_S = 20.0
DRAIN_S = 15.0
# Threads that spin while they wait turn a little competition for cores into a standstill.
VARIABLES = {"OMP_WAIT_POLICY": "PASSIVE"}
BASELINE_EVERY = 8  # episodes; a machine that others share drifts


def run(spec: FaultsSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path("faults")), on_progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One load to come."""

    fault: Fault
    dose: str
    options: ServerOptions | None
    """None: on the healthy server."""


def planned(spec: FaultsSpec, *, is_gpu: bool) -> tuple[list[Planned], dict[str, str]]:
    """Episodes of one seed, those on the healthy server first, and why others are left out.

    Raises ``InvalidSpec`` for an unknown name.
    """
    names = {f.name for f in FAULTS}
    if unknown := set(spec.faults) - names:
        raise InvalidSpec(
            f"There is no fault {', '.join(sorted(unknown))}.", remedy=f"Known: {', '.join(sorted(names))}."
        )
    made: list[Planned] = []
    left_out: dict[str, str] = {}
    for fault in FAULTS:
        if spec.faults and fault.name not in spec.faults:
            continue
        reason = fault.why_not(is_gpu)
        if fault.options and spec.engine not in fault.options:
            reason = f"not made for {spec.engine}"
        if reason:
            left_out[fault.name] = reason
            continue
        for dose, value in fault.doses.items():
            if fault.cause is not None and dose not in spec.doses:
                continue
            options = fault.options[spec.engine](value) if fault.options else None
            made.append(Planned(fault=fault, dose=dose, options=options))
    return sorted(made, key=lambda p: p.options is not None), left_out


def profile(spec: FaultsSpec, seed: int, port: int) -> LoadSpec:
    """The healthy load of a seed: rate and lengths are drawn around the spec's."""
    rng = random.Random(seed)
    inputs = round(spec.input_tokens * rng.uniform(0.8, 1.2))
    return LoadSpec(
        url=f"http://127.0.0.1:{port}",
        model=NAME,
        rate_per_s=spec.rate_per_s * rng.uniform(0.8, 1.1),
        duration_s=spec.duration_s,
        input_tokens=inputs,
        output_tokens=round(spec.output_tokens * rng.uniform(0.8, 1.3)),
        input_cv=0.2,
        output_cv=0.2,
        shared_prefix_tokens=round(SHARED_FRACTION * inputs),
        tokenizer=located(spec.model),
        telemetry_hz=TELEMETRY_HZ,
        probe=True,
        calibrate=False,
        timeout_s=TIMEOUT_S,
        seed=seed,
    )


class _Servers:
    """One server at a time, started as an episode wants it."""

    def __init__(self, spec: FaultsSpec, folder: Path, device: str) -> None:
        self._spec, self._folder, self._device = spec, folder, device
        self._room = ServerRoom(folder)
        self._card: ServerCard | None = None
        self._options: ServerOptions | None = None
        self.port = free_port()
        self.version: str | None = None

    def with_options(self, options: ServerOptions | None, load_spec: LoadSpec) -> Stage:
        """A warm server with these options; one that runs with them already is kept."""
        if self._card is None or options is not self._options or not self._drained():
            self.stop()
            self._options = options
            self._start(options or ServerOptions())
            self._warm_up(load_spec)
        assert self._card is not None
        return Stage(port=self.port, pid=self._card.pid, load=load_spec, is_gpu=self._device == "cuda")

    def _start(self, options: ServerOptions) -> None:
        spec = self._spec
        kv_tokens, seqs = int(spec.kv_tokens * options.kv_factor), options.max_num_seqs or spec.max_num_seqs
        model = spec.model
        if options.random_weights:
            model = str(with_random_weights(Path(located(model)), cache=self._folder / "models", tell=lambda _: None))
        extra = ["--max-num-seqs", str(seqs), *options.extra]
        if options.other_precision:  # than the one it takes by itself: see the engines
            is_float32 = spec.engine == "torch" and self._device == "cpu"
            extra += ["--dtype", "bfloat16" if is_float32 else "float16"]
        extra += _vllm_limits(spec, kv_tokens) if spec.engine == "vllm" else ["--kv-tokens", str(kv_tokens)]
        launch = launch_for(
            spec.engine,
            model,
            name=NAME,
            port=self.port,
            device=self._device,
            cache=self._folder / "models",
            tell=lambda _: None,
            extra=extra,
        )
        command = list(launch.command)
        if options.slow_tokenizer_s:
            at = command.index("workbench.engines.openai_server")
            command[at : at + 1] = ["workbench.experiments.slow_tokenizer_server", str(options.slow_tokenizer_s)]
        self.version = launch.version
        self._card = self._room.start(
            command,
            engine=spec.engine,
            model=model,
            port=self.port,
            environment={**launch.variables, **VARIABLES},
            timeout_s=START_TIMEOUT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )

    def _drained(self) -> bool:
        """Whether what earlier loads left behind is done within a while."""
        page = MetricsSource(f"http://127.0.0.1:{self.port}")
        started = time.monotonic()
        try:
            while time.monotonic() - started < DRAIN_S:
                told = page.read()
                if not sum(told.get(f"engine.num_requests_{what}", 0.0) for what in ("running", "waiting")):
                    return True
                time.sleep(0.2)
        except SourceLost:
            return False
        finally:
            page.close()
        return False

    @staticmethod
    def _warm_up(load_spec: LoadSpec) -> None:
        load.run(replace(load_spec, duration_s=WARM_UP_S, telemetry_hz=0.0, seed=load_spec.seed + 7919))

    def stop(self) -> None:
        """End the server, if one runs."""
        if self._card is not None:
            self._room.stop(self._card)
            self._card = None


def _vllm_limits(spec: FaultsSpec, kv_tokens: int) -> list[str]:
    block = 128 if spec.device == "cpu" else 16
    longest = 6 * (spec.input_tokens + spec.output_tokens)
    blocks = max(kv_tokens // block, -(-longest // block))
    return [
        *("--max-model-len", str(longest), "--block-size", str(block), "--num-gpu-blocks-override", str(blocks)),
        "--enable-prefix-caching",
    ]


def measure(spec: FaultsSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress after each load; last the run. Loads are kept in the folder, for ``workbench diagnose``.

    A load that fails ends its own episode, with the cause among the failures.
    """
    started_at = utc_now()
    device = chosen_device(spec.device)
    plan, left_out = planned(spec, is_gpu=device.kind == "cuda")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loads").mkdir(exist_ok=True)
    plans = dict.fromkeys(spec.seeds, plan)
    plans |= {seed: [p for p in plan if p.fault.cause is None] for seed in spec.control_seeds if seed not in plans}
    total, done = float(sum(map(len, plans.values()))), 0.0
    episodes: list[dict[str, Any]] = []
    failures: list[Mapping[str, str]] = [
        {"cause": f"{name} was left out: {why}.", "remedy": "Use another machine or engine."}
        for name, why in left_out.items()
    ]
    servers = _Servers(spec, folder, device.kind)
    try:
        for seed, its_plan in plans.items():
            healthy = profile(spec, seed, servers.port)
            baselines: dict[float, Observation] = {}
            since = 0
            for number, planned_one in enumerate(its_plan):
                fault = planned_one.fault
                is_stale = planned_one.options is None and since >= BASELINE_EVERY
                if fault.busy not in baselines or is_stale:
                    yield Progress(step=f"seed {seed}: a healthy load", done=done, total=total)
                    usual = _times(healthy, fault.busy, seed=1000 * seed + 500 + number)
                    servers.with_options(None, healthy)
                    name = f"{seed}-healthy-{number}" + (f"-busy-{fault.busy:g}" if fault.busy != 1 else "")
                    baselines[fault.busy] = observe(_kept(load.run(usual), folder, name))
                    since = 0
                yield Progress(step=f"seed {seed}: {fault.name}, {planned_one.dose}", done=done, total=total)
                own = _times(healthy, fault.busy, seed=1000 * seed + number)
                try:
                    stage = replace(servers.with_options(planned_one.options, healthy), load=own)
                    with fault.begin(stage, fault.doses[planned_one.dose]) as episode:
                        made = _kept(load.run(episode.load), folder, f"{seed}-{fault.name}-{planned_one.dose}")
                        episodes.append(_episode(planned_one, seed, episode, made, baselines[fault.busy]))
                except (WorkbenchError, OSError, KeyError) as error:
                    failures.append(
                        {"cause": f"{fault.name}, {planned_one.dose}: {error}", "remedy": "See the server's log."}
                    )
                    servers.stop()
                done, since = done + 1, since + 1
    finally:
        servers.stop()
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seeds[0],
        results=[scores(episodes, m) for m in (OURS, *METHODS)],
        samples={"episodes": episodes, "by_fault": by_fault(episodes), "engine_version": servers.version},
        failures=failures,
    )


def _times(healthy: LoadSpec, factor: float, *, seed: int) -> LoadSpec:
    """The healthy load with other arrivals, and so many times as many."""
    return replace(healthy, rate_per_s=healthy.rate_per_s * factor, seed=seed)


def _kept(made: Run, folder: Path, name: str) -> Run:
    with suppress(OSError):  # a full disk costs the file, not the episode
        (folder / "loads" / f"{name.replace(' ', '-')}.json").write_text(made.to_json())
    if not made.samples.get("requests"):
        cause = made.failures[0]["cause"] if made.failures else "no request was sent"
        raise InvalidSpec(cause, remedy="See the server's log.")
    return made


def _episode(one: Planned, seed: int, episode: Episode, made: Run, baseline: Observation) -> dict[str, Any]:
    current = observe(made)
    found = diagnosis_of(baseline, current)
    took_effect, proof = episode.proof(made, baseline, current)
    said: dict[str, Any] = {
        OURS: {
            "alarm": found.alarm,
            "causes": [c.key for c in found.causes[:5]],
            "scores": [round(c.score, 3) for c in found.causes[:5]],
            "share": round(found.causes[0].share, 3),
            "abstains": found.abstains,
            "symptoms": list(found.symptoms),
            "evidence": [[e.text, e.speaks, e.weight] for e in found.causes[0].evidence],
        }
    }
    for name, guess in METHODS.items():
        causes = guess(baseline, current).causes
        said[name] = {"alarm": bool(causes), "causes": list(causes[:5])}
    return {
        "fault": one.fault.name,
        "cause": one.fault.cause,
        "dose": one.dose,
        "seed": seed,
        "took_effect": took_effect,
        "proof": proof,
        "time_to_detect_s": time_to_detect(baseline, made, one.fault.cause) if one.fault.cause else None,
        "said": said,
    }


def time_to_detect(baseline: Observation, made: Run, cause: str) -> float | None:
    """Seconds of the load until the cause is named, looked at every second; None when it never is."""
    longest = float(made.spec["duration_s"])
    for look in range(2, round(longest / LOOK_EVERY_S) + 1):
        try:
            found = diagnosis_of(baseline, observe(made, until_s=look * LOOK_EVERY_S))
        except WorkbenchError:
            continue
        if found.named == cause:
            return look * LOOK_EVERY_S
    return None
