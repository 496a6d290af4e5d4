"""What a tuning run says under any SLO: the best setting, whether it is worth the change, and what was kept of its requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.runs import Run
from workbench.core.statistics import Floats, Interval
from workbench.core.units import shown_duration, shown_percent, three_digits
from workbench.core.verdict import Answer, Verdict, sentence
from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning.findings.grid import grid_comparison
from workbench.questions.tuning.measure.scoring import LEAST_GAIN, Aim, aim_of, are_good, counted, gain, window_scores
from workbench.questions.tuning.rows import RequestTimes, SettingResult, TuneChoice, TuneSamples, TuneTrial
from workbench.questions.tuning.spec import Objective, TuneSpec

WORTH = 0.02
"""Gain over the defaults below which a change is not worth it."""
MANY_TIMES = 2.0
"""Gain above which a factor is shown and no percentage."""
SCORES: Mapping[Objective, tuple[str, str]] = {
    "goodput": (gettext("goodput"), "requests/s"),
    "cost": (gettext("cost"), gettext("USD / M good tokens")),
    "latency": (gettext("end-to-end latency, mean"), "s"),
}
"""Name and unit of what is shown for each aim."""


def shown_score(score: float | None, objective: Objective) -> str:
    """Return a score as readers see it: requests/s, USD for a million good tokens, or seconds."""
    if score is None or (score <= 0 and objective != "goodput"):
        return "–"
    return three_digits(score if objective == "goodput" else 1e6 / score if objective == "cost" else 1 / score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A setting under the SLO that is asked about."""

    result: SettingResult
    score: float
    """Measured where there are loads; else simulated, times what the measured settings have of their simulation."""
    is_measured: bool
    over_default_fraction: float | None
    """Gain over the default: of a measured setting in the loads that both had; None where there is none to compare."""
    per_s: float
    """Requests per second of which a share meets the SLO: all that were due, or in a closed loop all that were answered."""

    @property
    def provenance(self) -> Provenance:
        """Return how its score was obtained."""
        return Provenance.MEASURED if self.is_measured else Provenance.SIMULATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A run under an SLO."""

    run: Run
    spec: TuneSpec
    aim: Aim
    settings: Sequence[Judged]
    """The best measured first, then the simulated ones."""
    default: Judged
    gain_fraction: Interval | None
    """Of the best measured setting over the default, in the loads that both had; None where it is the default."""
    is_own_slo: bool
    """Whether the SLO is that of the run, whose search stands behind the choice."""
    windows: Mapping[str, Mapping[str, Floats]]
    """Scores in windows of time, by setting and load."""
    simulated: Mapping[str, float]
    """Scores of simulated settings."""

    @property
    def best(self) -> Judged:
        """Return the best measured setting."""
        return self.settings[0]

    @property
    def is_worth_it(self) -> bool:
        """Whether the best setting is better than the default by more than 2 %, and by more than nothing in all of its interval."""
        g = self.gain_fraction
        return g is not None and g.value > WORTH and g.low > 0

    def over(self, judged: Judged, other: Judged) -> float | None:
        """Return the gain over another setting in the loads that both had, or where both are simulated; None where there is none to compare."""
        if judged.is_measured and other.is_measured:
            return _over(self.windows[judged.result.name], self.windows[other.result.name])
        its, base = (self.simulated.get(j.result.name) for j in (judged, other))
        return its / base - 1 if its is not None and base else None

    @property
    def chosen(self) -> Judged:
        """Return the setting to use: the default where no other is worth the change."""
        return self.best if self.is_worth_it else self.default


def tuned_under(run: Run, *, slo_ttft_s: float, slo_tpot_s: float) -> Tuned | None:
    """Return a run with all scores counted anew under an SLO, from the requests that it kept; None where nothing was measured."""
    spec = run.asked(TuneSpec)
    aim = replace(aim_of(spec), slo_ttft_s=slo_ttft_s, slo_tpot_s=slo_tpot_s)
    samples, results = run.sampled(TuneSamples), run.rows(SettingResult)
    windows = {r.name: _windows(samples.measured.get(r.name, {}), r.setting, aim) for r in results}
    measured = [r for r in results if windows[r.name]]
    default = next((r for r in measured if r.is_default), None)
    if default is None:
        return None
    scores = {r.name: float(np.concatenate(list(windows[r.name].values())).mean()) for r in measured}
    plain = {r.name: s for r in results if (s := _simulated(samples.simulated.get(r.name), r, aim)) is not None}
    both = [r.name for r in measured if r.name in plain]
    scale = sum(plain[n] for n in both)
    factor = sum(scores[n] for n in both) / scale if scale > 0 else 1.0
    judged = [
        Judged(
            result=r,
            score=scores[r.name],
            is_measured=True,
            over_default_fraction=_over(windows[r.name], windows[default.name]),
            per_s=float(np.mean([counted(t, aim).sum() / aim.duration_s for t in samples.measured[r.name].values()])),
        )
        for r in measured
    ]
    judged.sort(key=lambda j: (-j.score, not j.result.is_default))
    rest = [
        Judged(
            result=r,
            score=factor * plain[r.name],
            is_measured=False,
            over_default_fraction=plain[r.name] / plain[default.name] - 1 if plain.get(default.name) else None,
            per_s=factor * (r.simulated_answered_per_s or 0.0),
        )
        for r in results
        if r.name in plain and not windows[r.name]
    ]
    rest.sort(key=lambda j: -j.score)
    best, own = judged[0], next(j for j in judged if j.result.is_default)
    is_own = (slo_ttft_s, slo_tpot_s) == (spec.slo_ttft_s, spec.slo_tpot_s)
    choice = run.row(TuneChoice)
    if is_own and choice is not None:  # the search and its confirmation decide, not the highest of all means
        best = next((j for j in judged if j.result.name == choice.best_measured), best)
        judged = [best, *(j for j in judged if j is not best)]
    its, base = windows[best.result.name], windows[default.name]
    shared = [k for k in its if k in base]
    fraction = None
    if best is not own and is_own and choice is not None:
        fraction = choice.gain_fraction and replace(choice.gain_fraction, low=max(choice.gain_fraction.low, LEAST_GAIN))
    elif best is not own and shared:
        fraction = gain(*([of[k] for k in shared] for of in (its, base)))
    return Tuned(
        run=run,
        spec=spec,
        aim=aim,
        settings=[*judged, *rest],
        default=own,
        gain_fraction=fraction,
        is_own_slo=is_own,
        windows=windows,
        simulated=plain,
    )


def _over(its: Mapping[str, Floats], default: Mapping[str, Floats]) -> float | None:
    """Return the gain over the default in the loads that both had; None where the default has none of them, or scores nothing there."""
    shared = [k for k in its if k in default]
    base = sum(float(default[k].mean()) for k in shared)
    return sum(float(its[k].mean()) for k in shared) / base - 1 if base > 0 else None


def _windows(loads: Mapping[str, RequestTimes], setting: VllmSetting, aim: Aim) -> dict[str, Floats]:
    return {name: window_scores(t, aim, devices=setting.tensor_parallel_size) for name, t in loads.items()}


def _simulated(times: RequestTimes | None, result: SettingResult, aim: Aim) -> float | None:
    """Return the score of a simulation of which some requests were kept."""
    if times is None or result.simulated is None:
        return None
    if aim.objective == "latency":
        return result.simulated.value
    share = float(are_good(times, aim).mean())
    per_s = (result.simulated_answered_per_s or 0.0) * share
    if aim.objective == "goodput":
        return per_s
    tokens = float(np.mean(times.output_tokens))
    return per_s * tokens * 3600 / (aim.usd_per_hour * result.setting.tensor_parallel_size)


def verdict(tuned: Tuned) -> Verdict:
    """Return the setting to use, and what it gains over the defaults."""
    name, unit = SCORES[tuned.aim.objective]
    best, choice = tuned.best, tuned.run.row(TuneChoice)
    pair = (best.score, tuned.default.score)
    if tuned.is_own_slo and choice is not None and choice.confirmed_score is not None:
        pair = (choice.confirmed_score, choice.confirmed_default_score or 0.0)
    scores = f"{name} {shown_score(pair[0], tuned.aim.objective)} {unit}"
    headline, answer = _headline(tuned, scores)
    if best is not tuned.default:
        scores = gettext("{scores}, {score} with the defaults").format(
            scores=scores, score=shown_score(pair[1], tuned.aim.objective)
        )
    return Verdict(
        headline=headline,
        evidence=gettext("{scores} (SLO: TTFT {ttft}, TPOT {tpot}). {effort}").format(
            scores=scores,
            ttft=shown_duration(tuned.aim.slo_ttft_s),
            tpot=shown_duration(tuned.aim.slo_tpot_s),
            effort=_effort(tuned),
        ),
        objection=_objection(tuned),
        answer=answer,
        best=tuned.chosen.result.name,
    )


def _headline(tuned: Tuned, score: str) -> tuple[str, Answer]:
    """Return what to do, and whether that is to change anything; the score is that of the best setting."""
    default, best, g = tuned.default.result.name, tuned.best.result.name, tuned.gain_fraction
    choice = tuned.run.row(TuneChoice)
    if g is None and choice is not None and choice.n_measured == 1 and choice.stopped == "the winner is certain":
        text = gettext(
            "Not worth tuning: no setting is likely to be more than 2 % better than vLLM's defaults ({name})."
        )
        return text.format(name=default), "no"
    if g is None:
        text = gettext("Not worth tuning: vLLM's defaults ({name}) are the best of what was measured.")
        return text.format(name=default), "no"
    if _default_has_none(tuned):
        text = gettext("{name}: {score}, where vLLM's defaults meet the SLO for no request.")
        return text.format(name=best, score=score), "yes"
    if tuned.is_worth_it and g.value > MANY_TIMES:
        text = gettext("{name}: {score}, {times} times vLLM's defaults ({low} to {high}).")
        times, low, high = (three_digits(1 + v) for v in (g.value, g.low, g.high))
        return text.format(name=best, score=score, times=times, low=low, high=high), "yes"
    if tuned.is_worth_it:
        text = gettext("{name}: {value} better than vLLM's defaults ({low} to {high}).")
        gains = {"value": shown_percent(g.value), "low": shown_percent(g.low), "high": shown_percent(g.high)}
        return text.format(name=best, **gains), "yes"
    if g.high <= WORTH:
        return gettext("Not worth tuning: within 2 % of vLLM's defaults ({name}).").format(name=default), "no"
    text = gettext("No setting is shown to be better than vLLM's defaults: {name} has {value} ({low} to {high}).")
    is_factor = g.value > MANY_TIMES  # then of all three
    value, low, high = (
        f"{three_digits(1 + v)} ×" if is_factor else shown_percent(v, sign=True) for v in (g.value, g.low, g.high)
    )
    return text.format(name=best, value=value, low=low, high=high), "open"


def _default_has_none(tuned: Tuned) -> bool:
    """Return whether the default meets the SLO for no request, on the fresh seeds where there are some."""
    choice = tuned.run.row(TuneChoice)
    if tuned.is_own_slo and choice is not None and choice.confirmed_default_score is not None:
        return choice.confirmed_default_score <= 0 < (choice.confirmed_score or 0.0) and tuned.is_worth_it
    return tuned.default.score <= 0 < tuned.best.score


def _effort(tuned: Tuned) -> str:
    choice = tuned.run.row(TuneChoice)
    if choice is None:
        return ""
    text = gettext(
        "{n_simulated:,} settings were simulated in {simulation} and {n_measured} of them measured in "
        "{measurement}; the search ended because {reason}."
    ).format(
        n_simulated=choice.n_simulated,
        simulation=shown_duration(choice.simulation_s),
        n_measured=choice.n_measured,
        measurement=shown_duration(choice.measurement_s),
        reason=ENDS[choice.stopped],
    )
    if choice.is_confirmed and tuned.is_own_slo:
        text += gettext(" The gain is that of fresh seeds, which decided nothing.")
    grid = grid_comparison(tuned.run)
    if grid is not None:
        text += " " + grid
    return text


ENDS = {
    "the winner is certain": gettext("no other setting is likely to be better by more than 2 %"),
    "a tie within 2 %": gettext("what remains is alike within 2 %"),
    "the budget is used": gettext("the budget was used"),
    "the server cannot be restarted": gettext("the server cannot be restarted with other flags"),
}


def _objection(tuned: Tuned) -> str:
    choice, points = tuned.run.row(TuneChoice), []
    trials = tuned.run.rows(TuneTrial)
    if not tuned.is_own_slo:
        points.append(
            gettext("the search was made for another SLO: run again to measure what is promising under this one")
        )
    better = [j for j in tuned.settings if not j.is_measured and j.score > (1 + WORTH) * tuned.best.score]
    if better:
        points.append(
            gettext("{n} settings that were not measured are simulated better, {name} first").format(
                n=len(better), name=better[0].result.name
            )
        )
    if choice is not None and choice.stopped == "the server cannot be restarted":
        points.append(gettext("only the default was measured: give --restart, or let the workbench launch the server"))
    if choice is not None and choice.stopped == "the budget is used":
        points.append(gettext("a longer budget may find a better setting"))
    if any(t.changed_live for t in trials):
        points.append(
            gettext("limits were changed on a running server: memory and CUDA graphs were those of the largest setting")
        )
    if choice is not None and choice.gain_fraction is not None and not choice.is_confirmed:
        points.append(
            gettext("the gain was not confirmed on fresh seeds, and the best of several is flattered by chance")
        )
    if not points:
        points.append(
            gettext("the answer holds for this load and this machine; other lengths or rates want another run")
        )
    return sentence(points)


def shown_gain(fraction: float | None) -> str:
    """Return a gain over the defaults in percent, or as a factor where it is many times."""
    if fraction is not None and fraction > MANY_TIMES:
        return f"{three_digits(1 + fraction)} ×"
    return shown_percent(fraction, sign=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPairs:
    """TTFT and TPOT of some requests of a setting, from which its goodput under any SLO follows."""

    judged: Judged
    pairs: Sequence[tuple[float | None, float | None]]
    """None, None: not answered."""


def kept_pairs(tuned: Tuned, most: int = 120) -> list[KeptPairs]:
    """Return requests of each setting, evenly spaced, the measured ones where there are some."""
    samples = tuned.run.sampled(TuneSamples)
    found = []
    for j in tuned.settings:
        loads = samples.measured.get(j.result.name)
        times = list(loads.values()) if loads else [samples.simulated[j.result.name]]
        pairs: list[tuple[float | None, float | None]] = [
            (t.ttft_s[i], t.tpot_s[i]) if t.e2e_s[i] is not None else (None, None)
            for t in times
            for i in (np.flatnonzero(counted(t, tuned.aim)).tolist() if loads else range(len(t.due_s)))
        ]
        kept = sorted({round(i) for i in np.linspace(0, len(pairs) - 1, min(most, len(pairs)))})
        found.append(KeptPairs(judged=j, pairs=[pairs[i] for i in kept]))
    return found


def launch_command(tuned: Tuned) -> str:
    """Return the command that serves the model with the chosen setting."""
    model = tuned.chosen.result.setting.checkpoint or tuned.spec.model
    return f"vllm serve {model} {tuned.chosen.result.launch}"
