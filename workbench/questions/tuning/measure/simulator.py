"""The scores of all settings where their loads are simulated: of one draw of the arrivals with its uncertainty, and over many."""

import numpy as np

from workbench.core.errors import DoesNotFit
from workbench.core.statistics import Floats
from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.measure.scoring import WINDOWS, Aim, window_scores
from workbench.questions.tuning.measure.simulation import SimulatedLoad, limits_of, simulated, simulated_load
from workbench.questions.tuning.measure.space import Space
from workbench.questions.tuning.measure.step_times import DRAWS, StepTimes
from workbench.questions.tuning.rows import RequestTimes
from workbench.questions.tuning.spec import TuneSpec

MANY = 300
"""Settings from which on the ends of the interval are simulated only for the better ones."""
PROMISING = 0.7
"""Share of the best middle score from which on a setting is simulated with all step times."""
ARRIVALS = 8
"""Draws of the arrivals over which scores are simulated."""
NEAR = 0.4
"""Share of the best score on the first load from which on a setting is simulated on others too."""
OTHER_ARRIVALS = 300_000
"""Seeds of those draws lie so far from that of the search."""


class Simulator:
    """Simulates the loads of a spec with the step times that were fitted to a server."""

    def __init__(self, spec: TuneSpec, space: Space, aim: Aim, steps: StepTimes) -> None:
        self.spec, self.space, self.aim, self.steps = spec, space, aim, steps
        self.does_not_fit: dict[VllmSetting, str] = {}
        """Why settings have no room."""

    def times(self, setting: VllmSetting, load: SimulatedLoad, *, draw: int = 0) -> RequestTimes | None:
        """Return what becomes of the requests of a load; None where they have no room, which raises ``DoesNotFit`` for the default."""
        try:
            cost, front, room = self.steps.draws(setting)[draw]
            return simulated(load, cost, limits_of(setting, cache_tokens=room, front=front))
        except DoesNotFit as error:
            if setting == self.space.default:
                raise
            self.does_not_fit[setting] = error.cause
            return None

    def windows(self, setting: VllmSetting, load: SimulatedLoad, *, draw: int = 0) -> Floats:
        """Return the score in each window of a load, zeros where there is no room."""
        times = self.times(setting, load, draw=draw)
        return self._scored(setting, times) if times else np.zeros(WINDOWS)

    def _scored(self, setting: VllmSetting, times: RequestTimes) -> Floats:
        return window_scores(times, self.aim, devices=setting.tensor_parallel_size)

    def scores(self, load: SimulatedLoad) -> tuple[Floats, dict[int, RequestTimes]]:
        """Return scores by draw of step times, setting and window, the middle draw first, and its requests by place of the setting."""
        settings = self.space.valid
        scores = np.zeros((len(DRAWS), len(settings), WINDOWS))
        times: dict[int, RequestTimes] = {}
        for i, setting in enumerate(settings):
            if found := self.times(setting, load):
                times[i] = found
                scores[:, i] = self._scored(setting, found)
        middle = scores[0].mean(axis=1)
        bar = PROMISING * middle.max() if len(settings) > MANY else -1.0
        for i, setting in enumerate(settings):
            for draw in range(1, len(DRAWS)) if middle[i] >= bar else ():
                scores[draw, i] = self.windows(setting, load, draw=draw)
        return scores, times

    def expected(self, first: Floats, load: SimulatedLoad) -> tuple[Floats, float]:
        """Return the scores of settings as means over arrivals, and the score that none can exceed.

        Args:
            first: Scores of the first load; settings far below the best are simulated on no other, as those behind ``MANY`` better ones, and
                share the mean ratio of the rest.
            load: The first load.
        """
        loads = [load]
        if self.spec.trace is None:
            loads += [simulated_load(self.spec, self.spec.seed + OTHER_ARRIVALS + k) for k in range(1, ARRIVALS)]
        near = [int(i) for i in np.argsort(-first)[:MANY] if first[i] >= NEAR * first.max()]
        others = [[self.windows(self.space.valid[i], other).mean() for i in near] for other in loads[1:]]
        scores = np.array([first[near], *others])
        expected = first * scores.mean() / max(float(first[near].mean()), 1e-9)
        expected[near] = scores.mean(axis=0)
        is_limited = self.aim.objective == "goodput" and not self.aim.is_closed
        arrivals = np.mean([len(x.arrivals) for x in loads])
        return expected, float(arrivals) / load.duration_s if is_limited else np.inf
