"""The fault suite: a real engine, faults with known causes, healthy controls, and the score of each method."""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from workbench.apparatus.burden import Burden
from workbench.catalog.paths import located
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.runs import Run
from workbench.load.rows import LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import Record, run
from workbench.questions.latency.faults.measure.fault_list import FAULTS, reason_against
from workbench.questions.latency.faults.measure.fault_making import Fault, Injection, ServerOptions
from workbench.questions.latency.faults.measure.scores import score_of
from workbench.questions.latency.faults.measure.servers import NAME, Servers
from workbench.questions.latency.faults.rows import WORKBENCH, Episode, FaultsSamples, MethodAnswer
from workbench.questions.latency.faults.spec import FaultsSpec
from workbench.questions.latency.findings import Diagnosis, diagnosis_of
from workbench.questions.latency.findings.naive_diagnosis import METHODS
from workbench.questions.latency.findings.observation import Observation, observe
from workbench.telemetry.devices import chosen_device

TELEMETRY_HZ = 5.0
CHECK_EVERY_S = 1.0
SHARED_FRACTION = 0.8  # of a prompt: a system prompt that all requests share
TIMEOUT_S = 20.0
BASELINE_EVERY = 8  # episodes; a machine that others share drifts


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """One planned load of the suite."""

    fault: Fault
    dose: str

    @property
    def options(self) -> ServerOptions | None:
        """How the server is started for the load; None: it uses the healthy server."""
        return self.fault.doses[self.dose].options


def plan_episodes(spec: FaultsSpec, *, is_gpu: bool) -> tuple[list[PlannedLoad], dict[str, str]]:
    """Return the planned loads of one seed, those on the healthy server first, and why faults are left out.

    Raises ``InvalidSpec`` for an unknown name.
    """
    names = {f.name for f in FAULTS}
    if unknown := set(spec.faults) - names:
        raise InvalidSpec(
            gettext("There is no fault {names}.").format(names=", ".join(sorted(unknown))),
            remedy=gettext("Known: {names}.").format(names=", ".join(sorted(names))),
        )
    faults = [f for f in FAULTS if not spec.faults or f.name in spec.faults]
    reasons = {f.name: reason_against(f, engine=spec.engine, is_gpu=is_gpu) for f in faults}
    plan = [
        PlannedLoad(fault=f, dose=dose)
        for f in faults
        for dose in f.doses
        if reasons[f.name] is None and (f.cause is None or dose in spec.doses)
    ]
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    return sorted(plan, key=lambda p: p.options is not None), left_out


def profile(spec: FaultsSpec, seed: int, port: int) -> LoadSpec:
    """Return the healthy load of a seed: rate and lengths are drawn around the spec's."""
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


@dataclass(slots=True)
class _SeedLoads:
    """The loads of one seed: its baselines, and its episodes between them."""

    seed: int
    healthy: LoadSpec
    servers: Servers
    folder: Path
    baselines: dict[float, Observation] = field(default_factory=dict)
    """Baselines by the factor on the healthy request rate."""
    n_since: int = 0
    """Number of episodes since the last baseline."""

    def needs_baseline(self, one: PlannedLoad) -> bool:
        return one.fault.busy not in self.baselines or (one.options is None and self.n_since >= BASELINE_EVERY)

    def measure_baseline(self, busy: float, number: int) -> None:
        self.servers.with_options(None, self.healthy)
        name = f"healthy-{number}" + (f"-busy-{busy:g}" if busy != 1 else "")
        self.baselines[busy], self.n_since = observe(self._kept(self._load(busy, 500 + number), name)), 0

    def episode(self, one: PlannedLoad, number: int) -> Episode:
        fault, self.n_since = one.fault, self.n_since + 1
        stage = self.servers.with_options(one.options, self.healthy)
        with fault.doses[one.dose].begin(replace(stage, load=self._load(fault.busy, number))) as injected:
            load_run = self._kept(injected.load, f"{fault.name}-{one.dose}")
            return _episode(self.seed, one, injected, load_run, self.baselines[fault.busy])

    def _load(self, busy: float, number: int) -> LoadSpec:
        """Return the healthy load with other arrivals, and a request rate that is ``busy`` times as high."""
        return replace(self.healthy, rate_per_s=self.healthy.rate_per_s * busy, seed=1000 * self.seed + number)

    def _kept(self, load: LoadSpec, name: str) -> Run:
        load_run = run(load)
        with suppress(OSError):  # a full disk costs the file, not the episode
            (self.folder / f"{self.seed}-{name.replace(' ', '-')}.json").write_text(load_run.to_json())
        if not load_run.sampled(LoadSamples).requests:
            cause = load_run.failures[0].cause if load_run.failures else gettext("no request was sent")
            raise InvalidSpec(cause, remedy=gettext("See the server's log."))
        return load_run


def measure(spec: FaultsSpec, record: Record) -> Iterator[Progress]:
    """Yield progress before each load. Loads are kept in the record's folder, for ``workbench diagnose``.

    A load that fails ends only its own episode; its cause is among the failures.
    """
    record.device = chosen_device(spec.device)
    is_gpu = record.device.kind == "cuda"
    plan, left_out = plan_episodes(spec, is_gpu=is_gpu)
    record.failures += [
        Failure(cause=f"{name} was left out: {why}.", remedy="Use another machine or engine.")
        for name, why in left_out.items()
    ]
    plans = dict.fromkeys(spec.seeds, plan)
    plans |= {seed: [p for p in plan if p.fault.cause is None] for seed in spec.control_seeds if seed not in plans}
    total, done = float(sum(map(len, plans.values()))), 0.0
    episodes: list[Episode] = []
    folder, servers = record.folder / "loads", Servers(spec, record.folder, is_gpu=is_gpu)
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        stack.callback(servers.stop)
        if spec.burden:
            stack.enter_context(Burden(processes=max(1, round(spec.burden * len(os.sched_getaffinity(0))))))
        for seed, of_seed in plans.items():
            loads = _SeedLoads(seed, profile(spec, seed, servers.port), servers, folder)
            for number, one in enumerate(of_seed):
                if loads.needs_baseline(one):
                    yield Progress(
                        step=gettext_noop("seed {seed}: a healthy load").format(seed=seed), done=done, total=total
                    )
                    loads.measure_baseline(one.fault.busy, number)
                yield Progress(
                    step=gettext_noop("seed {seed}: {fault}, {dose}").format(
                        seed=seed, fault=one.fault.name, dose=one.dose
                    ),
                    done=done,
                    total=total,
                )
                try:
                    episodes.append(loads.episode(one, number))
                except (WorkbenchError, OSError, KeyError) as error:
                    cause = f"{one.fault.name}, {one.dose}: {error}"
                    record.failures.append(Failure(cause=cause, remedy="See the server's log."))
                    servers.stop()
                done += 1
    record.rows = [score_of(episodes, m) for m in (WORKBENCH, *METHODS)]
    record.samples = FaultsSamples(episodes=episodes, engine_version=servers.version)


def _episode(seed: int, one: PlannedLoad, injected: Injection, load_run: Run, baseline: Observation) -> Episode:
    current, cause = observe(load_run), one.fault.cause
    took_effect, proof = injected.proof(baseline, current)
    guesses = {name: guess(baseline, current) for name, guess in METHODS.items()}
    others = {name: MethodAnswer(alarm=bool(causes), causes=causes[:5]) for name, causes in guesses.items()}
    return Episode(
        seed=seed,
        fault=one.fault.name,
        dose=one.dose,
        cause=cause,
        took_effect=took_effect,
        proof=proof,
        time_to_detect_s=time_to_detect(baseline, load_run, cause) if cause else None,
        answers={WORKBENCH: _answer(diagnosis_of(baseline, current)), **others},
    )


def _answer(diagnosis: Diagnosis) -> MethodAnswer:
    """Return the part of a diagnosis that a run keeps."""
    first, *others = diagnosis.causes[:5]
    return MethodAnswer(
        alarm=diagnosis.alarm,
        causes=tuple(c.key for c in (first, *others)),
        scores=tuple(round(c.score, 3) for c in (first, *others)),
        probability=round(first.probability, 3),
        abstains=diagnosis.abstains,
        symptoms=diagnosis.symptoms,
        evidence=first.evidence,
    )


def time_to_detect(baseline: Observation, load_run: Run, cause: str) -> float | None:
    """Return the seconds from the start of the load until the cause is named, checked every second; None when it never is."""
    longest = load_run.asked(LoadSpec).duration_s
    for n in range(2, round(longest / CHECK_EVERY_S) + 1):
        with suppress(WorkbenchError):
            if diagnosis_of(baseline, observe(load_run, until_s=n * CHECK_EVERY_S)).named == cause:
                return n * CHECK_EVERY_S
    return None
