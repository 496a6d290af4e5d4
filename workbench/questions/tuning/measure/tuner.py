"""A tuning run: probes on the default, a simulation of all settings, measurements where they decide, and a confirmation on fresh seeds."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import Floats, Interval
from workbench.engines.vllm_settings import VllmSetting
from workbench.measuring.envelope import Record
from workbench.questions.tuning.measure.loads import LoadOutcome, drain_s, outcome, probe_loads, tokenizer_of, warm_up
from workbench.questions.tuning.measure.parts import Launch, MeasuredLoad, Probed, key_of
from workbench.questions.tuning.measure.scoring import Aim, gain, window_scores
from workbench.questions.tuning.measure.search import Search
from workbench.questions.tuning.measure.servers import Served, Servers
from workbench.questions.tuning.measure.simulation import simulated_load
from workbench.questions.tuning.measure.simulator import Simulator
from workbench.questions.tuning.measure.space import Space
from workbench.questions.tuning.measure.step_times import ProbeLoad, Shape, fitted
from workbench.questions.tuning.rows import FittedLoad, MeasuredSoFar, RequestTimes, TuneTrial
from workbench.questions.tuning.spec import TuneSpec

Purpose = Literal["search", "confirmation", "grid"]
FRESH = 100_000
"""Seeds of the confirmation lie so far from those of the search."""
CONFIRMED = 3
"""Loads on the best setting and on the default in the confirmation."""
MOST_VISITS = 4
FIRST_LAUNCH_S = 30.0
"""Assumed time of a launch before one was seen."""


class Tuner:
    """The state of a run; what is measured is kept part by part, so that a second run goes on from there."""

    def __init__(
        self, spec: TuneSpec, record: Record, servers: Servers, space: Space, *, aim: Aim, shape: Shape
    ) -> None:
        self.spec, self.record, self.servers, self.space, self.aim = spec, record, servers, space, aim
        self.shape = shape
        self.kept = record.kept
        self.budget_s = 60 * spec.budget_min
        self.began = time.monotonic()
        self.probes: list[ProbeLoad] = []
        self.fitted_loads: list[FittedLoad] = []
        self.search: Search | None = None
        self.simulated_times: dict[int, RequestTimes] = {}
        self.simulator: Simulator | None = None
        self.simulation_s = 0.0
        self.confirmed: Interval | None = None
        self.confirmed_scores: tuple[float, float] | None = None
        self.stopped: str = "the budget is used"
        self.confirms = True
        """Whether the best setting is confirmed on fresh seeds, for which the budget has room."""
        self._is_warm = False

    # --- time ---------------------------------------------------------------------------------------------------

    @property
    def launches(self) -> dict[str, Launch]:
        """Return the launches by key."""
        return {name.removeprefix("launch@"): part for name, part in self.kept.named("launch@", Launch).items()}

    @property
    def spent_s(self) -> float:
        """Return the time of launches, probes and loads, also of those before a resume."""
        loads = sum(m.trial.seconds for m in self.loads().values() if m.trial.purpose != "grid")
        probes = sum(p.seconds for p in self.kept.named("probe@", Probed).values())
        launches = 0.0 if self.servers.changes_live else sum(launch.startup_s for launch in self.launches.values())
        return loads + probes + launches

    @property
    def launch_s(self) -> float:
        """Return the time that a launch is expected to take."""
        if self.servers.changes_live:
            return 0.0
        known = [launch.startup_s / launch.n for launch in self.launches.values() if launch.startup_s]
        return float(np.median(known)) if known else FIRST_LAUNCH_S

    @property
    def load_s(self) -> float:
        """Return the time that a load is expected to take, with its share of a warm-up."""
        return 1.3 * self.spec.duration_s + 2.0

    @property
    def n_seeds(self) -> int:
        """Return the loads of a visit, settled once: more where launches are long."""
        return self.kept.once("loads-per-visit", int, lambda: max(1, min(3, round(self.launch_s / (3 * self.load_s)))))

    def loads(self) -> dict[str, MeasuredLoad]:
        """Return the loads that were measured, by setting, seed and purpose."""
        return self.kept.named("load@", MeasuredLoad)

    def progress(self, step: str, more_s: float = 0.0) -> Progress:
        """Return how much of the budget is used."""
        done = min(self.spent_s + more_s, self.budget_s)
        return Progress(step=step, done=done, total=self.budget_s, result=self.so_far)

    @property
    def so_far(self) -> MeasuredSoFar | None:
        """Return the settings that were measured until now, for whoever looks on."""
        if self.search is None:
            return None
        measured = self.search.measured
        names = tuple(self.space.valid[i].label for i in measured)
        return MeasuredSoFar(names=names, scores=tuple(self.search.score(i) for i in measured))

    # --- measuring ----------------------------------------------------------------------------------------------

    def measure(self, setting: VllmSetting, seeds: Sequence[int], purpose: Purpose = "search") -> Iterator[Progress]:
        """Measure a setting with the seeds that are not kept; a setting that does not start is noted as failed."""
        names = {seed: f"load@{key_of(setting)}@{seed}@{purpose}" for seed in seeds}
        missing = [seed for seed in seeds if self.kept.read(names[seed], MeasuredLoad) is None]
        failed = self.launches.get(key_of(setting))
        if not missing or (failed is not None and failed.failure):
            return
        yield self.progress(f"{setting.label} · starting")
        served = self._served(setting)
        if served is None:
            return
        if served.startup_s is not None or not self._is_warm:
            yield from self._sent(setting, served, missing[0], None, purpose)
            self._is_warm = True
        for seed in missing:
            yield from self._sent(setting, served, seed, names[seed], purpose)

    def _served(self, setting: VllmSetting) -> Served | None:
        started = time.monotonic()
        name = f"launch@{key_of(setting)}"
        before = self.kept.read(name, Launch)
        try:
            served = self.servers.served(setting)
        except NotAvailable:
            raise
        except WorkbenchError as error:
            self.kept.write(name, Launch(startup_s=time.monotonic() - started, failure=error.cause))
            self.record.failures.append(Failure.of(error, setting.label))
            return None
        if served.startup_s is not None:
            total = served.startup_s + (before.startup_s if before else 0.0)
            n = 1 + (before.n if before else 0)
            self.kept.write(name, Launch(startup_s=total, n=n, version=self.servers.version))
        return served

    def _sent(
        self, setting: VllmSetting, served: Served, seed: int, name: str | None, purpose: Purpose
    ) -> Iterator[Progress]:
        """Send a load; without a name it is a warm-up, which is not kept."""
        load = self.spec.load(served.url, served.model, seed=seed, tokenizer=tokenizer_of(self.spec))
        started, at_s = self.spent_s, time.monotonic() - self.began
        wait_s = drain_s(self.spec)
        for item in outcome(load if name else warm_up(load), self.record.folder / "load", wait_s=wait_s):
            if isinstance(item, LoadOutcome):
                if name:
                    self._keep(name, setting, seed, purpose, item, at_s)
            else:
                step = f"{setting.label} · {'seed ' + str(seed) if name else 'warming up'} · {item.step}"
                done = min(started + item.done, self.budget_s)
                yield Progress(step=step, done=done, total=self.budget_s, result=self.so_far)

    def _keep(
        self, name: str, setting: VllmSetting, seed: int, purpose: Purpose, done: LoadOutcome, at_s: float
    ) -> None:
        score = window_scores(done.times, self.aim, devices=setting.tensor_parallel_size)
        goodput = window_scores(done.times, replace(self.aim, objective="goodput"))
        trial = TuneTrial(
            name=setting.label,
            seed=seed,
            purpose=purpose,
            score=float(score.mean()),
            goodput_per_s=float(goodput.mean()),
            attainment_fraction=done.attainment_fraction,
            n_requests=done.n_requests,
            n_failed=done.n_failed,
            at_s=round(at_s, 2),
            seconds=round(done.seconds, 2),
            changed_live=self.servers.changes_live,
            warnings=done.warnings,
        )
        self.kept.write(name, MeasuredLoad(trial=trial, times=done.times, output_tokens_per_s=done.output_tokens_per_s))

    def loads_on(self, setting: VllmSetting, purpose: Purpose = "search") -> list[MeasuredLoad]:
        """Return the loads on a setting, in the order of their seeds."""
        found = self.kept.named(f"load@{key_of(setting)}@", MeasuredLoad).values()
        return sorted((m for m in found if m.trial.purpose == purpose), key=lambda m: m.trial.seed)

    def windows(self, setting: VllmSetting, purpose: Purpose = "search") -> list[Floats]:
        """Return the windows of the loads on a setting, in the order of their seeds."""
        return [self._windows_of(setting, m.times) for m in self.loads_on(setting, purpose)]

    # --- steps of a run -----------------------------------------------------------------------------------------

    def run(self) -> Iterator[Progress]:
        """Yield the progress of the whole run; the servers are stopped by whoever made them."""
        default = self.space.default
        yield from self.probe()
        yield from self.measure(default, self.first_seeds())
        if not self.windows(default):
            launch = self.launches.get(key_of(default))
            raise WorkbenchError(
                gettext("The default setting could not be measured: {failure}").format(
                    failure=launch.failure if launch else gettext("no answer")
                ),
                remedy=gettext("Correct what the server says, or change the model."),
            )
        yield self.progress("fitting step times")
        self.simulate()
        try:
            yield from self.explore()
            yield from self.decide()
            yield from self.confirm()
        except NotAvailable as error:
            self.record.failures.append(Failure.of(error))
            self.stopped = "the server cannot be restarted"

    def first_seeds(self) -> list[int]:
        """Return the seeds of the first visit."""
        return [self.spec.seed + k for k in range(self.n_seeds)]

    def probe(self) -> Iterator[Progress]:
        """Send the short loads that step times are fitted to, and note what earlier ones said."""
        default = self.space.default
        missing = not self.kept.named("probe@", Probed)
        if missing:
            yield self.progress(f"{default.label} · starting")
            served = self._served(default)
            if served is None:
                return
            yield from self._sent(default, served, self.spec.seed, None, "search")
            self._is_warm = True
            for load in probe_loads(self.spec, served, most=default.max_num_seqs):
                for item in outcome(load, self.record.folder / "load"):
                    if isinstance(item, LoadOutcome):
                        probed = Probed(users=load.concurrency or 1, times=item.times, seconds=item.seconds)
                        self.kept.write(f"probe@{load.concurrency:04d}", probed)
                    else:
                        yield self.progress(f"{load.concurrency} users at once · {item.step}")
        plain = replace(
            self.spec,
            arrivals="closed",
            concurrency=1,
            input_cv=0.0,
            output_cv=0.0,
            shared_prefix_tokens=0,
            trace=None,
            turns=1,
            duration_s=3.0,
        )
        lengths = simulated_load(plain, self.spec.seed)
        for probed in self.kept.named("probe@", Probed).values():
            self.probes.append(
                ProbeLoad(
                    load=replace(lengths, users=probed.users),
                    times=probed.times,
                    input_tokens=self.spec.input_tokens,
                    output_tokens=self.spec.output_tokens,
                )
            )

    def simulate(self) -> None:
        """Fit step times to the probes and the default's first load, and simulate every setting."""
        started = time.monotonic()
        load = simulated_load(self.spec, self.spec.seed)
        first = self.kept.read(f"load@{key_of(self.space.default)}@{self.spec.seed}@search", MeasuredLoad)
        own = (
            [
                ProbeLoad(
                    load=load,
                    times=first.times,
                    input_tokens=self.spec.input_tokens,
                    output_tokens=self.spec.output_tokens,
                )
            ]
            if first
            else []
        )
        steps, self.fitted_loads = fitted(self.shape, self.space.default, [*self.probes, *own])
        self.simulator = Simulator(self.spec, self.space, self.aim, steps)
        scores, self.simulated_times = self.simulator.scores(load)
        expected, ceiling = self.simulator.expected(scores[0].mean(axis=1), load)
        self.search = Search(self.space.valid, scores, expected=expected, default=0, ceiling=ceiling)
        self.simulation_s = time.monotonic() - started
        self._observe_all()
        for i in set(range(len(self.space.valid))) - set(self.simulated_times):
            self.search.fail(i)

    def _windows_of(self, setting: VllmSetting, times: RequestTimes) -> Floats:
        return window_scores(times, self.aim, devices=setting.tensor_parallel_size)

    def _observe_all(self) -> None:
        assert self.search is not None
        for i, setting in enumerate(self.space.valid):
            launch = self.launches.get(key_of(setting))
            if self.windows(setting):
                self._observe(i)
            elif launch is not None and launch.failure:
                self.search.fail(i)

    def _observe(self, index: int) -> None:
        """Note what the loads on a setting scored, and what they score where they are simulated."""
        assert self.search is not None
        assert self.simulator is not None
        setting = self.space.valid[index]
        sent = [simulated_load(self.spec, load.trial.seed) for load in self.loads_on(setting)]
        self.search.observe(index, self.windows(setting), [self.simulator.windows(setting, load) for load in sent])

    def has_time_for(self, n_visits: int, n_loads: int) -> bool:
        """Return whether so many visits with loads fit into the budget beside the confirmation.

        The setting that was visited last still runs: if it is the best, only the default is launched again.
        """
        assert self.search is not None
        launches = 1 if self.search.best() == self.search.default else 2
        reserve = launches * self.launch_s + 2 * CONFIRMED * self.load_s if self.confirms else 0.0
        visit = n_visits * (self.launch_s + self.load_s * 0.3) + n_loads * self.load_s
        return self.spent_s + visit + reserve <= self.budget_s

    def explore(self) -> Iterator[Progress]:
        """Measure settings one by one while another may be better by more than 2 %."""
        assert self.search is not None
        while True:
            index = self.search.next()
            if index is None:
                self.stopped = "the winner is certain"
                return
            if not self.has_time_for(1, self.n_seeds):
                return
            yield from self.visit(index, self.first_seeds())

    def visit(self, index: int, seeds: Sequence[int]) -> Iterator[Progress]:
        """Measure one setting and note what it says."""
        assert self.search is not None
        setting = self.space.valid[index]
        yield from self.measure(setting, seeds)
        if self.windows(setting):
            self._observe(index)
        else:
            self.search.fail(index)

    def decide(self) -> Iterator[Progress]:
        """Halve the settings that may be the best, with more loads of the same seeds for those that remain."""
        search = self.search
        assert search is not None
        for visit in range(1, MOST_VISITS):
            rivals = search.rivals()
            if not rivals:
                return
            if search.is_tie(rivals):
                self.stopped = "a tie within 2 %"
                return
            remaining = [search.best(), *rivals[: max(1, (len(rivals) + 1) // 2)]]
            seeds = [self.spec.seed + k for k in range(self.n_seeds * (visit + 1))]
            for index in remaining if visit % 2 else remaining[::-1]:
                if not self.has_time_for(1, self.n_seeds):
                    self.stopped = "the budget is used"
                    return
                yield from self.visit(index, seeds)
        if search.rivals():
            self.stopped = "a tie within 2 %" if search.is_tie(search.rivals()) else self.stopped

    def confirm(self) -> Iterator[Progress]:
        """Measure the best setting and the default on seeds that decided nothing."""
        search = self.search
        assert search is not None
        best = search.best()
        if best == search.default or not self.confirms:
            return
        seeds = [self.spec.seed + FRESH + k for k in range(CONFIRMED)]
        for index in (best, search.default):
            yield from self.measure(self.space.valid[index], seeds, "confirmation")
        self.note_confirmed(*(self.windows(self.space.valid[i], "confirmation") for i in (best, search.default)))

    def note_confirmed(self, best: Sequence[Floats], default: Sequence[Floats]) -> None:
        """Note the gain of the best setting over the default in loads of the same fresh seeds."""
        n = min(len(best), len(default))
        if n:
            ours, others = (float(np.concatenate(side[:n]).mean()) for side in (best, default))
            self.confirmed, self.confirmed_scores = gain(best[:n], default[:n]), (ours, others)
