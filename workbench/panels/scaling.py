"""The panel that plays rules for scaling over real traffic."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import ipywidgets as widgets

from workbench.catalog.tables import Claim, claims
from workbench.core.errors import WorkbenchError
from workbench.experiments.scaling import TRACES, ScalingCase, compared, traffic_of
from workbench.figures.surge import minutes_and_hours, replicas_over_time
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import POLL_S
from workbench.panels.shared_view import code_block
from workbench.simulate.autoscaling import Played, pareto

TITLE = "Would scaling have helped?"
QUESTION = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingState:
    """Everything that the view is drawn from."""

    trace: str = "conv"
    times: float = 10.0
    start_s: float = 120.0
    promised_s: float = 1.0
    warm: int = 1
    cached_percent: float = 15.0


class ScalingPanel(AnswerPanel):
    """Computes at once; nothing is measured."""

    tab_titles = ("Claims beside", "On a command line")
    can_run = False

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__("scaling", css_class="wb-scaling", manager=manager, poll_s=poll_s)
        self.state = ScalingState()
        later = {"continuous_update": False}
        self.controls = {
            "trace": labelled(widgets.Dropdown, "Traffic", value="conv", options=[(v, k) for k, v in TRACES.items()]),
            "times": labelled(widgets.BoundedFloatText, "Times the requests", value=10.0, min=0.1, max=1e4, **later),
            "start_s": labelled(
                widgets.BoundedFloatText, "A replica answers after, s", value=120.0, min=1, max=3600, **later
            ),
            "promised_s": labelled(
                widgets.BoundedFloatText, "Promise: longest wait, s", value=1.0, min=0.05, max=600, **later
            ),
            "warm": labelled(widgets.BoundedIntText, "Warm spares", value=1, min=0, max=100, **later),
            "cached_percent": labelled(
                widgets.BoundedFloatText, "Answered from a cache, %", value=15.0, min=0, max=95, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()

    @property
    def case(self) -> ScalingCase:
        """What is played."""
        s = self.state
        return ScalingCase(
            trace=s.trace,
            times=s.times,
            start_s=s.start_s,
            promised_s=s.promised_s,
            warm=s.warm,
            cached=s.cached_percent / 100,
        )

    def view(self) -> AnswerView:
        """The answer to the state."""
        header = (
            f"<h2>{TITLE}</h2><p class='sub'>△ simulated on {TRACES[self.state.trace]} (CC BY 4.0); a replica as one H200 with an "
            "8B model</p>"
        )
        try:
            found = _compared(self.case)
        except WorkbenchError as error:
            card = message_card("failure", "Not possible.", error.cause, error.remedy)
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", ""), run=None)
        best = pareto(found)
        work = traffic_of(self.case).work_s
        names = list(found)
        drawn = {n: found[n].replicas for n in (names[2], names[3], names[5])}
        return AnswerView(
            header=header,
            answer=_verdict(found, best, self.case).replace("<p>● ", "<p>△ "),
            figures=(
                lambda: minutes_and_hours({n: p.row() for n, p in found.items()}, best),
                lambda: replicas_over_time(drawn, work),
            ),
            table=_rows(found, best),
            tabs=(_claims(found, self.case), code_block(command(self.case))),
            run=None,
        )


@lru_cache(maxsize=32)
def _compared(case: ScalingCase) -> dict[str, Played]:
    return compared(case)


def _verdict(found: Mapping[str, Played], best: list[str], case: ScalingCase) -> str:
    kept = {n: found[n] for n in best}
    least = min(kept, key=lambda n: (kept[n].slo_minutes, kept[n].gpu_hours))
    scaled = {n: p for n, p in found.items() if not n.startswith("fixed")}
    known = [n for n in scaled if not n.startswith("ours")]
    usual = min(known, key=lambda n: scaled[n].slo_minutes)
    return verdict_card(
        f"Fewest minutes with late requests: {least} ({found[least].slo_minutes:.1f} min, {found[least].gpu_hours:.1f} GPU hours).",
        f"The best of the usual rules, {usual}, has {found[usual].slo_minutes:.1f} min at {found[usual].gpu_hours:.1f} hours: a replica "
        f"takes {case.start_s:g} s, and a rule that looks at what waits now comes so much too late.",
        "A fluid model: single steps of engines are not in it. The rules that are ours were set on the code traffic; conversations are "
        "held out. Bursts shorter than the start of a replica are not for scaling: shorter answers and refusals are.",
        is_stale=False,
    )


def _rows(found: Mapping[str, Played], best: list[str]) -> str:
    head = ("Rule △", "min late", "requests late", "wait p99", "GPU hours", "most", "changes", "shortened")
    rows = [
        (
            f"{i + 1} {'★ ' if name in best else ''}{name}",
            f"{p.slo_minutes:.1f}",
            f"{100 * p.late_fraction:.1f} %",
            f"{p.wait_p99_s:.1f} s",
            f"{p.gpu_hours:.1f}",
            str(p.most),
            str(p.n_changes),
            f"{100 * p.shorter_fraction:.1f} %",
        )
        for i, (name, p) in enumerate(found.items())
    ]
    return table(head, rows) + "<p><small>★ no other is better in both minutes and hours.</small></p>"


def _claims(found: Mapping[str, Played], case: ScalingCase) -> str:
    here = {
        "pre-warmed scaling": f"a warm spare serves after 5 s; {_gain(found, 'warm')}",
        "autoscaling": f"first new replica after {case.start_s:g} s plus up to 15 s until the rule looks",
        "rate limiting": "immediate, and answers nothing more: see the table of the surge above",
        "degradation": f"immediate; {_gain(found, 'shorter')}",
        "cache pre-warming": f"as soon as the cache is filled; {_gain(found, 'cache')}",
    }
    rows = [
        (c.technique, c.metric.replace("_", " "), _claimed(c), here.get(c.technique, "–"))
        for c in claims()
        if c.question == QUESTION
    ]
    return table(("Claim", "of", "claimed", "here △"), rows, left=(1, 3))


def _gain(found: Mapping[str, Played], word: str) -> str:
    plain = next(p for n, p in found.items() if n.startswith("ours (trend"))
    other = next(p for n, p in found.items() if n.startswith("ours,") and word in n)
    return f"late minutes {plain.slo_minutes:.1f} → {other.slo_minutes:.1f}, GPU hours {plain.gpu_hours:.1f} → {other.gpu_hours:.1f}"


def _claimed(c: Claim) -> str:
    low, high = c.low, c.high
    return "–" if low is None else f"{low:g} {c.unit}" if low == high else f"{low:g} to {high:g} {c.unit}"


def command(case: ScalingCase) -> str:
    """The same on a command line."""
    return (
        f"workbench scaling --trace {case.trace} --times {case.times:g} --start-s {case.start_s:g} --wait-s {case.promised_s:g} "
        f"--warm {case.warm} --cached {case.cached:g}"
    )


def panel(**options: Any) -> ScalingPanel:
    """The panel."""
    return ScalingPanel(**options)
