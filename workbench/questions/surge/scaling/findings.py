"""Autoscaling rules on real traffic: GPU hours, and minutes with SLO misses."""

import csv
import re
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np

from workbench.catalog.models import language_model_from
from workbench.catalog.paths import DATA, workbench_home
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.core.provenance import Provenance
from workbench.core.rows import Json, plain
from workbench.core.traces import read_trace
from workbench.core.units import shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.estimate.device_calibration import CALIBRATIONS, offers
from workbench.questions.surge.scaling.spec import TRACES, ScalingSpec
from workbench.simulate.autoscaling import (
    Covered,
    Fixed,
    Played,
    Predictive,
    QueueLength,
    Relief,
    Rule,
    Traffic,
    Utilization,
    play,
)
from workbench.simulate.saturation import ReplicaSpeed, replica_speed

TRAFFIC = DATA / "traffic"
LESS = 0.9  # of the GPU hours is worth a word
LONGEST_S = 366 * 86_400.0  # rules look at every second


def traffic_of(case: ScalingSpec) -> Traffic:
    """Return requests and work by second; raises ``InvalidSpec`` for a file that is no trace."""
    if case.trace in TRACES:
        with (TRAFFIC / f"azure_2023_{case.trace}.csv").open(newline="") as file:
            table = np.array([[float(x) for x in r.values()] for r in csv.DictReader(file)])
        spans = np.repeat(table[:, 1:] / 2, 2, axis=0)  # counts are of two seconds
    else:
        arrivals = read_trace(Path(case.trace)).arrivals
        if arrivals[-1].at_s > LONGEST_S:
            raise InvalidSpec(
                gettext("The trace {file} lasts {days} days.").format(
                    file=case.trace, days=f"{arrivals[-1].at_s / 86_400:,.0f}"
                ),
                remedy=gettext("Give a trace of at most {days} days.").format(days=f"{LONGEST_S / 86_400:.0f}"),
            )
        seconds = np.array([int(a.at_s) for a in arrivals])
        spans = np.zeros((seconds.max() + 1, 3))
        np.add.at(spans, seconds, [[1, a.input_tokens, a.output_tokens] for a in arrivals])
    n, n_in, n_out = spans.sum(axis=0).tolist()
    speed = speed_of(case, input_tokens=n_in / n, output_tokens=n_out / n)
    work = spans[:, 1] / speed.prompt_tokens_per_s + spans[:, 2] / speed.answer_tokens_per_s
    return Traffic(requests=spans[:, 0] * case.times, work_s=work * case.times)


def speed_of(case: ScalingSpec, *, input_tokens: float, output_tokens: float) -> ReplicaSpeed:
    """Return the throughput of a replica: what was given, and what is simulated for the model and the device where nothing was."""
    given = case.prompt_tokens_per_s, case.answer_tokens_per_s
    if given[0] is not None and given[1] is not None:
        return ReplicaSpeed(prompt_tokens_per_s=given[0], answer_tokens_per_s=given[1])
    (offer,) = offers([case.device], own=workbench_home() / CALIBRATIONS)
    model = language_model_from(case.model)
    simulated = replica_speed(model, offer, input_tokens=input_tokens, output_tokens=output_tokens)
    return ReplicaSpeed(
        prompt_tokens_per_s=given[0] or simulated.prompt_tokens_per_s,
        answer_tokens_per_s=given[1] or simulated.answer_tokens_per_s,
    )


def compared(case: ScalingSpec) -> dict[str, Played]:
    """Return each rule, and the other remedies of the FAQ, simulated on the same traffic."""
    traffic = traffic_of(case)
    mean, peak = float(traffic.work_s.mean()), float(np.quantile(_minutes(traffic.work_s), 0.999))
    enough, first = max(1, ceil(peak / 0.8)), max(1, ceil(mean / 0.7))
    start_s, wait_s = case.start_s, case.slo_wait_s

    def rule(chosen: Rule, *, warm: int = 0, relief: Relief | None = None) -> Played:
        return play(
            traffic,
            chosen,
            start_s=start_s,
            promised_s=wait_s,
            first=first,
            most=4 * enough,
            warm=warm,
            relief=relief,
        )

    def fixed(n: int) -> Played:
        return play(traffic, Fixed(n=n), start_s=start_s, promised_s=wait_s, first=n)

    def covered(*, warm: int = 0, relief: Relief | None = None) -> Played:
        return rule(Covered(start_s=start_s), warm=warm, relief=relief)

    return {
        gettext_noop("fixed, for the peak minute ({n})").format(n=enough): fixed(enough),
        gettext_noop("fixed, for the mean ({n})").format(n=first): fixed(first),
        gettext_noop("queue length (KEDA: {n} waiting)").format(n=5): rule(QueueLength()),
        gettext_noop("utilization (HPA: {n} %)").format(n=70): rule(Utilization()),
        gettext_noop("predictive (trend)"): rule(Predictive(start_s=case.start_s)),
        gettext_noop("workbench (trend plus its error)"): covered(),
        gettext_noop("workbench, {n} warm").format(n=case.warm): covered(warm=case.warm),
        gettext_noop("workbench, shorter answers"): covered(relief=Relief(shorter_above_s=case.slo_wait_s / 2)),
        gettext_noop("workbench, {n} % from a cache").format(n=f"{100 * case.cached:.0f}"): covered(
            relief=Relief(cached=case.cached)
        ),
    }


def shown_rule(name: str) -> str:
    """Return what a reader sees of a rule of ``compared``: its only number is put back into the translated name."""
    number = re.search(r"\d+", name)
    return gettext(name) if number is None else gettext(name.replace(number[0], "{n}", 1)).format(n=number[0])


def _minutes(work_s: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the moving means over a minute."""
    return np.convolve(work_s, np.ones(60) / 60, mode="valid") if work_s.size >= 60 else work_s


RULE_HEAD = (
    gettext("Rule △"),
    gettext("minutes with SLO misses"),
    gettext("SLO misses"),
    gettext("queue wait p99"),
    gettext("GPU hours"),
    gettext("most replicas"),
    gettext("changes"),
    gettext("shortened"),
)


def verdict(played: Mapping[str, Played], best: list[str], spec: ScalingSpec) -> Verdict:
    """Return the rule with the fewest minutes with SLO misses, compared with the best of the usual rules and with fixed replicas."""
    least = min(best, key=lambda n: (played[n].slo_minutes, played[n].gpu_hours))
    usual_rules = {n: p for n, p in played.items() if not n.startswith(("fixed", "workbench"))}
    usual = min(usual_rules, key=lambda n: (usual_rules[n].slo_minutes, usual_rules[n].gpu_hours))
    fixed = min(
        (n for n in played if n.startswith("fixed")), key=lambda n: (played[n].slo_minutes, played[n].gpu_hours)
    )
    compared = [
        gettext("“{rule}” has {minutes} min at {hours} GPU hours").format(**_named(n, played[n]))
        for n in dict.fromkeys((usual, fixed))
        if n != least
    ]
    cheaper = [n for n in best if played[n].gpu_hours < LESS * played[least].gpu_hours]
    points = [
        gettext("“{rule}” needs less: {minutes} min at {hours} GPU hours").format(**_named(n, played[n]))
        for n in cheaper[:2]
    ]
    if played[least].shorter_fraction > 0:
        points.append(
            gettext("{share} of its answers are shortened").format(
                share=shown_percent(played[least].shorter_fraction, 1)
            )
        )
    return Verdict(
        headline=gettext(
            "The rule “{rule}” has the fewest minutes with SLO misses: {minutes} min at {hours} GPU hours."
        ).format(**_named(least, played[least])),
        evidence=gettext("{others}. A replica takes {seconds} s to start.").format(
            others=gettext("; ").join(compared), seconds=f"{spec.start_s:g}"
        ),
        objection=objections(points),
        scope=gettext(
            "Rules named workbench start replicas for the trend and its error; the others are KEDA's, Kubernetes' and fixed numbers. They were tuned on the code trace, the conversation trace is held out. This is a fluid model without the single steps of engines."
        ),
        best=least,
        provenance=Provenance.SIMULATED,
    )


def _named(name: str, p: Played) -> dict[str, str]:
    """Return what sentences about a rule hold."""
    return {"rule": shown_rule(name), "minutes": f"{p.slo_minutes:.1f}", "hours": f"{p.gpu_hours:.1f}"}


def played_data(played: Mapping[str, Played]) -> dict[str, Json]:
    """Return the documented JSON form: the row of each rule."""
    return {name: plain(p.row()) for name, p in played.items()}


def rule_rows(played: Mapping[str, Played], best: list[str]) -> list[tuple[str, ...]]:
    """Return the cells of ``RULE_HEAD`` for each rule."""
    return [
        (
            f"{i + 1} {'★ ' if name in best else ''}{shown_rule(name)}",
            f"{p.slo_minutes:.1f}",
            shown_percent(p.late_fraction, 1),
            f"{p.wait_p99_s:.1f} s",
            f"{p.gpu_hours:.1f}",
            str(p.most),
            str(p.n_changes),
            shown_percent(p.shorter_fraction, 1),
        )
        for i, (name, p) in enumerate(played.items())
    ]
