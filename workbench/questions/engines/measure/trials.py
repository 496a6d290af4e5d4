"""One candidate of a sweep: its server, and one load after the other. Runs here or as a task on a cluster."""

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import platformdirs
import psutil

from workbench.catalog.paths import located
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.engines.serving import Launch, launch_for, with_random_weights
from workbench.load.ask import Asker, the_model
from workbench.load.messages import LoadProgress
from workbench.load.rows import LoadResult, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import measured, run
from workbench.questions.engines.measure.parts import MeasuredTrial, Part, ServerFacts
from workbench.questions.engines.rows import LiveTrial, Trial
from workbench.questions.engines.spec import Candidate, EngineSweepSpec
from workbench.telemetry.devices import chosen_device

START_WORK = 3.0  # starting a server, in trials
STARTUP_LIMIT_S = 900.0
WARM_UP_S = 3.0
MOST_HALVINGS = 4


def next_rate(spec: EngineSweepSpec, trials: Mapping[float, bool]) -> float | None:
    """Return the request rate to try next; None when the search is over.

    Args:
        spec: Gives the first rate and the limits, or all rates.
        trials: Rates tried so far, and whether each was sustained.
    """
    if spec.rates_per_s:
        return next((r for r in sorted(spec.rates_per_s) if r not in trials), None)
    if not trials:
        return spec.start_rate_per_s
    broken = [r for r, ok in trials.items() if not ok]
    if not broken:
        return None if len(trials) >= spec.max_trials else 2 * max(trials)
    least_broken = min(broken)
    kept = [r for r, ok in trials.items() if ok and r < least_broken]
    if not kept:
        return None if len(trials) > min(MOST_HALVINGS, spec.max_trials - 1) else least_broken / 2
    n_bisected = sum(1 for r in trials if not _is_rung(r, spec.start_rate_per_s))
    return None if n_bisected >= spec.n_bisections else float((max(kept) * least_broken) ** 0.5)


def _is_rung(rate: float, start: float) -> bool:
    low, high = sorted((rate, start))
    while low < high * (1 - 1e-9):
        low *= 2
    return abs(low / high - 1) < 1e-9


def work_of(spec: EngineSweepSpec) -> float:
    """Return the expected work of one candidate, in trials."""
    return START_WORK + (len(spec.rates_per_s) or spec.max_trials / 2 + spec.n_bisections)


class _Version(msgspec.Struct):
    version: str | None = None


class Trials:
    """The measurement of one candidate.

    Args:
        spec: The sweep.
        text: The candidate, as the spec names it.
        folder: For the server's log; may be a temporary one.
        known: Rates that are measured already, and whether each was sustained.
    """

    def __init__(self, spec: EngineSweepSpec, text: str, folder: Path, *, known: Mapping[float, bool]) -> None:
        self.spec, self.candidate = spec, Candidate.read(text)
        self.room, self.folder = ServerRoom(folder), folder
        self.outcomes = dict(known)
        self.total = work_of(spec)
        self.done = 0.0
        self.device = chosen_device(spec.device)
        self.model = Path(located(spec.model))
        self._warm_rate = 0.0

    def events(self) -> Iterator[Progress | Part]:
        """Yield progress in units of trials, and parts to keep; the server is stopped however this ends.

        Raises:
            WorkbenchError: the engine is missing, does not start, or does not answer.
        """
        if next_rate(self.spec, self.outcomes) is None:
            return
        self.room.clean()
        yield self._progress("starting")
        card, launch, startup = self._start()
        try:
            facts = ServerFacts(
                startup_s=startup,
                version=self._version(card, launch),
                launch=shlex.join(self._portable(launch.command)) if launch else None,
            )
            yield self._progress("answers" if startup is None else f"answers after {startup:.0f} s", START_WORK)
            while (rate := next_rate(self.spec, self.outcomes)) is not None:
                yield from self._warm_up(card, rate)
                yield from self._trial(card, rate)
                yield self._part(replace(facts, memory_bytes=self._memory(card) if launch else None))
        finally:
            if launch:
                self.room.stop(card)

    def _part(self, value: MeasuredTrial | ServerFacts) -> Part:
        return Part(engine=self.candidate.text, value=value)

    def _progress(self, step: str, work: float = 0.0) -> Progress:
        self.done = min(self.done + work, self.total)
        return Progress(step=f"{self.candidate.label} · {step}", done=self.done, total=self.total)

    def _start(self) -> tuple[ServerCard, Launch | None, float | None]:
        if self.candidate.url:
            return self._running(self.candidate.url), None, None
        cache = Path(platformdirs.user_cache_dir("inference-workbench"))
        engine, port = self.candidate.engine, free_port()
        if self.spec.random_weights:
            self.model = with_random_weights(self.model, cache=cache / "random", tell=lambda _: None)
        launch = launch_for(
            engine,
            str(self.model) if self.spec.random_weights else self.spec.model,
            name="model",
            port=port,
            device=self.device.kind,
            cache=cache / "onnx",
            tell=lambda _: None,
            extra=self.candidate.extra,
        )
        started = time.monotonic()
        card = self.room.start(
            launch.command,
            engine=engine,
            model="model",
            port=port,
            environment=launch.variables,
            timeout_s=STARTUP_LIMIT_S,
            tell=lambda _: None,
            ends_with_us=True,
        )
        return card, launch, time.monotonic() - started

    def _running(self, url: str) -> ServerCard:
        name = self.spec.served_model or the_model(LoadSpec(url=url, model="-"))
        return ServerCard(name=url, engine="http", model=name, url=url, pid=0, created=0.0, command=(), log="")

    @staticmethod
    def _version(card: ServerCard, launch: Launch | None) -> str | None:
        if launch and launch.version:
            return launch.version
        try:
            with Asker(LoadSpec(url=card.url, model=card.model), timeout_s=5.0) as asker:
                found = msgspec.json.decode(asker.ask("GET", asker.address.plain("/version")).body, type=_Version)
        except (OSError, ValueError):
            return None
        return found.version

    def _load_spec(self, card: ServerCard, rate: float, duration_s: float) -> LoadSpec:
        s = self.spec
        return LoadSpec(
            url=card.url,
            model=card.model,
            rate_per_s=rate,
            duration_s=duration_s,
            input_tokens=s.input_tokens,
            output_tokens=s.output_tokens,
            tokenizer=str(self.model) if (self.model / "tokenizer.json").exists() else None,
            timeout_s=max(30.0, 3 * s.duration_s),
            slo_ttft_s=s.slo_ttft_s,
            slo_tpot_s=s.slo_tpot_s,
            calibrate=False,
            seed=s.seed,
        )

    def _warm_up(self, card: ServerCard, rate: float) -> Iterator[Progress]:
        """Send a short load at a request rate that this server has not seen: engines compile kernels for new sizes."""
        if rate > self._warm_rate:
            yield self._progress(f"{rate:.3g} requests/s · warming up")
            seconds = min(WARM_UP_S, self.spec.duration_s / 2)
            run(replace(self._load_spec(card, max(2.0, rate), seconds), seed=self.spec.seed + 1))
            self._warm_rate = rate

    def _trial(self, card: ServerCard, rate: float) -> Iterator[Progress | Part]:
        expected = max(2, round(rate * self.spec.duration_s))
        duration = self.spec.duration_s if expected >= 20 else min(20 / rate, 3 * self.spec.duration_s)
        started = self.done
        for item in measured(self._load_spec(card, rate, duration), self.folder / "load"):
            if isinstance(item, Run):
                self.done = started
                answers = item.row(LoadResult)
                if answers is None:
                    raise WorkbenchError(item.failures[0].cause, remedy=item.failures[0].remedy)
                trial = trial_of(rate, answers)
                requests = tuple(r.timed() for r in item.sampled(LoadSamples).requests)
                yield self._part(MeasuredTrial(trial=trial, requests=requests))
                is_met = self.outcomes[rate] = trial.attainment_fraction >= self.spec.attainment_fraction
                yield self._progress(f"{rate:.3g} requests/s {'met' if is_met else 'missed'} the SLO", 1)
            else:
                self.done = started + item.done / item.total
                progress = self._progress(f"{rate:.3g} requests/s · {item.step}")
                if isinstance(item.result, LoadProgress):
                    live = LiveTrial(engine=self.candidate.text, rate_per_s=rate, load=item.result)
                    progress = replace(progress, result=live)
                yield progress

    def _portable(self, command: tuple[str, ...]) -> list[str]:
        """Return the command without this machine's paths, and with the model as the reader named it."""
        named = [self.spec.model if part == str(self.model) else part for part in command[1:]]
        return ["python", *[Path(part).name if part.startswith("/") else part for part in named]]

    def _memory(self, card: ServerCard) -> float:
        if self.device.kind == "cuda":
            return float(self.device.free_bytes - chosen_device(self.spec.device).free_bytes)
        family = [psutil.Process(card.pid), *psutil.Process(card.pid).children(recursive=True)]
        return float(sum(p.memory_full_info().pss for p in family))


def trial_of(rate: float, answers: LoadResult) -> Trial:
    """Return the figures of one load that a comparison needs."""
    goodput, steady, health = answers.goodput, answers.steady_state, answers.client_health
    assert goodput is not None
    return Trial(
        rate_per_s=rate,
        attainment_fraction=goodput.attainment_fraction,
        attainment_interval=goodput.attainment_interval,
        good_per_s=steady.goodput.good_per_s if steady.goodput else 0.0,
        output_tokens_per_s=steady.output_tokens_per_s or 0.0,
        ttft_p50_s=answers.ttft_s.from_due.p50,
        ttft_p99_s=answers.ttft_s.from_due.p99,
        tpot_p50_s=answers.tpot_s.from_due.p50,
        e2e_p50_s=answers.e2e_s.from_due.p50,
        n_requests=answers.counts.due,
        n_failed=answers.counts.failed,
        client=health.verdict if health else "not recorded",
        warnings=answers.warnings,
        mean_output_tokens=answers.tokens.mean_output_per_request,
        nonce=answers.nonce,
    )
