"""Panels of rollouts: between real versions on this machine, and what judges get wrong on average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets as widgets

from workbench.catalog.paths import MEASURED as SHIPPED
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.rollout import HEALTHY, SCENARIOS, RolloutSpec
from workbench.figures.rollout import course_of_rollouts, evidence_of_rollouts, odds_by_judge
from workbench.figures.tables import message_card, table, verdict_card
from workbench.jobs.directory import JobView
from workbench.jobs.manager import JobManager
from workbench.panels.answer_panel import AnswerPanel, AnswerView
from workbench.panels.base import labelled
from workbench.panels.job_panel import BEGINS_ANEW, POLL_S
from workbench.panels.shared_view import code_block, run_label, runs_of_kind
from workbench.simulate.rollouts import JUDGES, Odds, odds

KIND = "rollout"
TITLE = "Does a bad version go back by itself?"
NEW = "new"
MEASURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """Everything that the view is drawn from."""

    run_id: str | None = None
    model: str = str(REFERENCE_MODEL)
    scenarios: tuple[str, ...] = ("same", "broken", "errors")
    rate_per_s: float = 20.0
    least_requests: int = 40
    disagreement_percent: float = 5.0


class RolloutPanel(AnswerPanel):
    """Run plays rollouts between two servers of this machine."""

    cancelled_note = BEGINS_ANEW
    tab_titles = ("Evidence by measure", "For your own gateway", "On a command line", "Spec as code")

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__(KIND, css_class="wb-rollout", manager=manager, poll_s=poll_s)
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.state = RolloutState(run_id=self.runs[0].id if self.runs else None)
        later = {"continuous_update": False}
        self.controls = {
            "run_id": labelled(widgets.Dropdown, "Shown", value=self.state.run_id, options=self._options()),
            "model": labelled(widgets.Text, "Old version: model folder", value=self.state.model, **later),
            "scenarios": labelled(
                widgets.SelectMultiple,
                "New version",
                value=self.state.scenarios,
                options=[(text, name) for name, text in SCENARIOS.items()],
            ),
            "rate_per_s": labelled(
                widgets.BoundedFloatText, "Requests a second", value=20.0, min=0.5, max=1000, **later
            ),
            "least_requests": labelled(
                widgets.BoundedIntText, "Requests of a step, at least", value=40, min=5, max=100_000, **later
            ),
            "disagreement_percent": labelled(
                widgets.BoundedFloatText, "Next tokens that may differ, %", value=5.0, min=0.1, max=90, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()
        self.attach_to_live_job()

    def _options(self) -> list[tuple[str, str | None]]:
        return [(run_label(r), r.id) for r in self.runs] or [("nothing measured yet", None)]

    @property
    def plan(self) -> RolloutSpec:
        """What Run plays."""
        s = self.state
        return RolloutSpec(
            model=s.model,
            scenarios=tuple(s.scenarios),
            rate_per_s=s.rate_per_s,
            least_requests=s.least_requests,
            disagreement=s.disagreement_percent / 100,
        )

    def finished(self, view: JobView) -> None:
        """Show the run."""
        self.runs = runs_of_kind(KIND, store=self.manager.store, shipped=SHIPPED)
        self.update(run_id=view.id)

    def show_controls(self) -> None:
        """What there is to choose from."""
        if list(self.controls["run_id"].options) != self._options():
            self.controls["run_id"].options = self._options()
        super().show_controls()

    def view(self) -> AnswerView:
        """The answer to the state."""
        run = next((r for r in self.runs if r.id == self.state.run_id), None)
        header = f"<h2>{TITLE}</h2>"
        code = code_block(self.plan.as_code()) if self.state.scenarios else "<p>Choose at least one new version.</p>"
        tabs = (code_block(GATEWAY), code_block(self._command()), code)
        if run is None or not run.results:
            card = message_card("caution", "No rollout was played yet.", "Press Run.", "Each takes half a minute.")
            return AnswerView(header=header, answer=card, figures=(), table="", tabs=("", *tabs), run=None)
        courses = run.samples["courses"]
        return AnswerView(
            header=f"{header}<p class='sub'>● measured on {escape(run.environment.device)}, two torch engines behind the gateway, "
            f"run {run.id}, {run.day}</p>",
            answer=verdict(run.results),
            figures=(
                lambda: course_of_rollouts(courses, new=NEW),
                lambda: evidence_of_rollouts(courses, limit=MEASURES / run.spec["alpha"]),
            ),
            table=_rows(run.results),
            tabs=(_evidence(run.results), *tabs),
            run=run,
        )

    def _command(self) -> str:
        s = self.state
        return (
            f"workbench rollout {s.model} --scenarios {','.join(s.scenarios)} --rate {s.rate_per_s:g} "
            f"--least-requests {s.least_requests} --disagreement {s.disagreement_percent / 100:g}"
        )


GATEWAY = """# gateway.toml: the same between your own servers; GET /rollout says where it is
[[upstreams]]
name = "one"
url = "http://localhost:8001"
version = "v1"

[[upstreams]]
name = "two"
url = "http://localhost:8002"
version = "v2"

[rollout]
stable = "v1"
canary = "v2"
journal = "rollout.journal"   # every step is on the disk before it is taken
steps = [0.1, 0.25, 0.5, 1.0]
least_requests = 200
model = "name-under-which-both-are-served"
gold = "questions.jsonl"      # lines like {"prompt": "The capital of"}
"""


def verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether each went where it should."""
    right = [r for r in rows if r["is_right"]]
    bad = [r for r in rows if r["scenario"] not in HEALTHY and r["phase"] == "rolled back"]
    slowest = max((r["took_s"] for r in bad), default=None)
    told = f"{len(right)} of {len(rows)} new versions went where they should"
    back = (
        f"Bad ones were back after at most {slowest:.0f} s and {max(r['n_new'] for r in bad)} of their answers."
        if slowest is not None
        else "No bad version was rolled back."
    )
    unverified = [SCENARIOS[r["scenario"]] for r in rows if not r["is_verified"]]
    return verdict_card(
        f"{told}.",
        back,
        "After each end further requests were sent: "
        + ("those who should answer did." if not unverified else f"not so for {', '.join(unverified)}.")
        + " A new version is judged against the old one beside it, on failures, late first tokens, slow tokens and next tokens that "
        "differ, after every request.",
        is_stale=False,
    )


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "New version ●",
        "ended",
        "because",
        "after",
        "its requests",
        "failed of them",
        "tokens that differ",
        "who answers now",
    )
    cells = [
        (
            SCENARIOS[r["scenario"]],
            r["phase"],
            escape(r["why"]) or "it is not decided yet",
            f"{r['took_s']:.0f} s",
            str(r["n_new"]),
            str(r["n_new_failed"]),
            f"{r['n_answers_differ']} of {r['n_answers']}",
            "as it should be" if r["is_verified"] else "not as it should be",
        )
        for r in rows
    ]
    return table(head, cells, left=(1, 2, 7))


def _evidence(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]["evidence"])
    cells = [(SCENARIOS[r["scenario"]], *(f"{r['evidence'][n]:.3g}" for n in names)) for r in rows]
    return (
        table(("New version ●", *names), cells)
        + "<p>Evidence above 4 / alpha rolls back: each of four measures has a quarter of alpha.</p>"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsState:
    """Everything that the view is drawn from."""

    old_percent: float = 1.0
    new_percent: float = 3.0
    per_interval: int = 1000
    alpha_percent: float = 1.0


class OddsPanel(AnswerPanel):
    """Computes at once; nothing is measured."""

    tab_titles = ("How it is computed",)
    n_plots = 1
    can_run = False

    def __init__(self, manager: JobManager | None = None, *, poll_s: float = POLL_S) -> None:
        super().__init__("odds", css_class="wb-odds", manager=manager, poll_s=poll_s)
        self.state = OddsState()
        later = {"continuous_update": False}
        self.controls = {
            "old_percent": labelled(
                widgets.BoundedFloatText, "Old version: failures, %", value=1.0, min=0, max=50, step=0.1, **later
            ),
            "new_percent": labelled(
                widgets.BoundedFloatText, "New version: failures, %", value=3.0, min=0, max=100, step=0.1, **later
            ),
            "per_interval": labelled(
                widgets.BoundedIntText, "Requests between two looks", value=1000, min=20, max=5000, **later
            ),
            "alpha_percent": labelled(
                widgets.BoundedFloatText, "Good versions rolled back, at most, %", value=1.0, min=0.01, max=20, **later
            ),
        }
        self.build(list(self.controls.values()))
        self.draw()

    def view(self) -> AnswerView:
        """The answer to the state."""
        s = self.state
        rows: list[dict[str, Any]] = []
        for judge in JUDGES:
            alike = _odds(judge, s.old_percent, s.old_percent, s.per_interval, s.alpha_percent)
            worse = _odds(judge, s.old_percent, s.new_percent, s.per_interval, s.alpha_percent)
            rows.append(
                {"judge": judge, "as_bad": alike.rolled_back, "worse": worse.rolled_back, "bad": worse.bad_answers}
            )
        ours = rows[0]
        return AnswerView(
            header="<h2>How often does a judge err?</h2><p class='sub'>△ simulated: 200 rollouts each</p>",
            answer=verdict_card(
                f"Ours rolls a version that is as good as the old one back in {100 * ours['as_bad']:.1f} % of the rollouts, and one with "
                f"{s.new_percent:g} instead of {s.old_percent:g} % failures in {100 * ours['worse']:.0f} %.",
                f"Users get {ours['bad']:.0f} failed answers of it on average; with a fixed threshold of 95 % it is "
                f"{rows[1]['bad']:.0f}, and {100 * rows[1]['worse']:.0f} % are rolled back.",
                "A threshold knows nothing of the version beside it: it rolls good versions back where the old one fails too.",
                is_stale=False,
            ).replace("<p>● ", "<p>△ "),
            figures=(lambda: odds_by_judge(rows),),
            table=_odds_rows(rows),
            tabs=(
                "<p>10, 25, 50 and 100 % of the users, five intervals each. Ours looks at every failure: a mixture of e-processes over "
                "ratios of 1.5 to 5, at a quarter of alpha because three more measures are watched. The others look once an interval: "
                "the FAQ's rule (success above 95 %), and a threshold as Flagger's documentation has it.</p>",
            ),
            run=None,
        )


@lru_cache(maxsize=256)
def _odds(judge: str, old_percent: float, new_percent: float, per_interval: int, alpha_percent: float) -> Odds:
    return odds(
        judge,
        old_rate=old_percent / 100,
        new_rate=new_percent / 100,
        per_interval=per_interval,
        alpha=alpha_percent / 100,
        n=200,
    )


def _odds_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    head = ("Judge △", "as good: rolled back", "yours: rolled back", "failed answers of yours")
    cells = [(r["judge"], f"{100 * r['as_bad']:.1f} %", f"{100 * r['worse']:.1f} %", f"{r['bad']:.0f}") for r in rows]
    return table(head, cells, highlighted=0)


def panel(**options: Any) -> RolloutPanel:
    """The panel, on the newest run."""
    return RolloutPanel(**options)


def odds_panel(**options: Any) -> OddsPanel:
    """The panel of judges' errors."""
    return OddsPanel(**options)
