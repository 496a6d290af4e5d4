"""Which setting to measure next: simulated scores, corrected by what was measured, and the chance that another setting is better.

A score is the mean over arrivals that a load may have, not that of one draw of them: near saturation a draw decides by half of the score.
The simulation says it (``expected``), and also the score of each load that was sent (its arrivals are known). The residual of a setting,
measured less simulated score of the same loads, is a Gaussian process over the logarithms of its limits and its switches: settings that
are alike are wrong alike. So simulated scores serve as control variates of the measured ones. A setting is worth a launch while its upper
end is above the score of the best measured one by more than 2 %.
"""

from collections.abc import Sequence
from math import sqrt

import numpy as np

from workbench.core.statistics import Floats, Interval
from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.measure.scoring import gain

WORTH = 0.02
"""Gain below which a change is not worth it."""
Z = 1.28
"""Ends of a nominal 80 % interval."""
RESIDUAL, UNKNOWN = 0.08, 0.15
"""Standard deviation of a setting's own error, as a share of the best simulated score: where the simulation knows its flags, and where not."""
SCALE_ERROR = 0.3
"""Standard deviation of the factor between measured and simulated scores."""
LENGTH = 1.5
"""Distance, in doublings of a limit or in changed switches, over which errors are alike."""
LEAST_NOISE = 0.01


class Search:
    """Simulated and measured scores of all settings.

    Args:
        settings: Those that are valid.
        simulated: Scores of the first load by draw of step times, setting and window; the first draw is the middle one.
        expected: Simulated scores of settings, as means over arrivals.
        default: Place of the default among the settings.
        ceiling: Score that no setting can exceed: all requests that come.
    """

    def __init__(
        self,
        settings: Sequence[VllmSetting],
        simulated: Floats,
        *,
        expected: Floats,
        default: int,
        ceiling: float = np.inf,
    ) -> None:
        self.settings, self.default, self.ceiling = settings, default, ceiling
        self.simulated, self.expected = simulated.mean(axis=2), expected
        self.scale = max(float(self.simulated[0].max()), 1e-9)
        self.measured: dict[int, list[Floats]] = {}
        self._simulated_loads: dict[int, Floats] = {}
        self.failed: set[int] = set()
        relative = self.simulated / np.maximum(self.simulated.max(axis=1, keepdims=True), 1e-9)
        self._spread = (relative.max(axis=0) - relative.min(axis=0)) / 2 / Z
        usual = settings[default].extra
        known = np.array([RESIDUAL if _is_known(s) and s.extra == usual else UNKNOWN for s in settings])
        self._own = np.hypot(known, self._spread)
        self._features = np.array([_features(s, settings) for s in settings])

    def observe(self, index: int, windows: Sequence[Floats], simulated: Sequence[Floats]) -> None:
        """Note the measured and the simulated windows of all loads on a setting, in the order of their seeds."""
        self.measured[index] = list(windows)
        self._simulated_loads[index] = np.concatenate(simulated)

    def fail(self, index: int) -> None:
        """Note that a setting does not start or ran out of memory: worse than all others."""
        self.failed.add(index)

    def score(self, index: int) -> float:
        """Return the measured score of a setting in its loads."""
        return float(np.concatenate(self.measured[index]).mean())

    def simulated_interval(self, index: int) -> Interval:
        """Return the simulated score with its ends, before anything was measured."""
        values = self.simulated[:, index]
        return Interval(float(values[0]), float(values.min()), float(values.max()))

    def predicted(self) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of every setting's score over arrivals, given all that was measured."""
        at = np.array(sorted(self.measured), dtype=int)
        if not at.size:
            return self.expected, self._own * self.scale
        seen = np.array([self.score(i) for i in at])
        simulated = np.array([self._simulated_loads[i].mean() for i in at])
        factor = self._factor(simulated, seen)
        kernel = self._kernel()
        noise = np.array([self._noise(i, factor) for i in at])
        inner = kernel[np.ix_(at, at)] + np.diag(noise**2)
        weights = np.linalg.solve(inner, kernel[at]).T
        mean = factor * self.expected + weights @ (seen - factor * simulated)
        variance = np.diag(kernel) - np.einsum("ij,ji->i", weights, kernel[at])
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def _factor(self, simulated: Floats, seen: Floats) -> float:
        """Return measured over simulated scores, drawn towards 1."""
        prior = (RESIDUAL / SCALE_ERROR) ** 2 * self.scale**2
        return float(np.dot(seen, simulated) + prior) / float(np.dot(simulated, simulated) + prior)

    def _kernel(self) -> Floats:
        own = self._own * self.scale
        gaps = self._features[:, None, :] - self._features[None, :, :]
        distance = (gaps**2).sum(axis=2)
        same = np.isclose(self.simulated[:, :, None], self.simulated[:, None, :]).all(axis=0)
        distance = np.where(same, 0.1 * distance, distance)  # a limit that never binds changes nothing
        kernel: Floats = np.outer(own, own) * np.exp(-distance / (2 * LENGTH**2))
        return kernel

    def _noise(self, index: int, factor: float) -> float:
        """Return the standard error of a measured score beside the simulation of the same loads."""
        off = np.concatenate(self.measured[index]) - factor * self._simulated_loads[index]
        return max(float(off.std()) / sqrt(off.size), LEAST_NOISE * self.scale)

    def best(self) -> int:
        """Return the measured setting with the highest score over arrivals."""
        mean, _ = self.predicted()
        return max(self.measured, key=lambda i: (mean[i], i == self.default))

    def next(self) -> int | None:
        """Return the unmeasured setting that is expected to improve most beyond 2 %; None where none may be better by so much."""
        mean, sd = self.predicted()
        bar = float(mean[self.best()]) * (1 + WORTH) if self.measured else -np.inf
        if bar >= self.ceiling:
            return None
        worth = [i for i in range(len(self.settings)) if self._is_open(i) and mean[i] + Z * sd[i] > bar]
        return max(worth, key=lambda i: (_improvement(float(mean[i]), float(sd[i]), bar), -i), default=None)

    def _is_open(self, index: int) -> bool:
        return index not in self.measured and index not in self.failed

    def gain(self, better: int, than: int) -> Interval:
        """Return the gain of a setting over another in the loads that both had."""
        n = min(len(self.measured[better]), len(self.measured[than]))
        return gain(self.measured[better][:n], self.measured[than][:n])

    def rivals(self) -> list[int]:
        """Return the measured settings that may still be better than the best one, the likeliest first."""
        best = self.best()
        others = sorted((i for i in self.measured if i != best), key=self.score, reverse=True)
        return [i for i in others if self.gain(best, i).low <= 0]

    def is_tie(self, rivals: Sequence[int]) -> bool:
        """Return whether nothing between the best and its rivals is worth deciding."""
        best = self.best()
        return all(self.gain(best, i).high <= WORTH for i in rivals)


def _improvement(mean: float, sd: float, bar: float) -> float:
    """Return the expected improvement over a bar."""
    from scipy.stats import norm  # slow to import

    z = (mean - bar) / max(sd, 1e-12)
    return float(sd * (z * norm.cdf(z) + norm.pdf(z)))


def _is_known(setting: VllmSetting) -> bool:
    """Return whether the simulation knows all that a setting changes."""
    return not setting.long_prefill_token_threshold and setting.async_scheduling


def _features(setting: VllmSetting, settings: Sequence[VllmSetting]) -> list[float]:
    """Return the logarithms of the limits, and the switches; other weights and further flags are a switch for each."""
    weights = sorted({str(s.checkpoint) for s in settings})
    extras = sorted({s.extra for s in settings})
    return [
        float(np.log2(setting.max_num_batched_tokens)),
        float(np.log2(setting.max_num_seqs)),
        float(np.log2(setting.long_prefill_token_threshold or setting.max_num_batched_tokens)),
        float(np.log2(setting.tensor_parallel_size)),
        float(setting.prefix_caching),
        float(setting.chunked_prefill),
        float(setting.async_scheduling),
        float(setting.kv_cache_dtype != "auto"),
        *(float(str(setting.checkpoint) == w) for w in weights[1:]),
        *(float(setting.extra == e) for e in extras[1:]),
    ]
