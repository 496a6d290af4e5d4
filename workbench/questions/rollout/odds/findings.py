"""Findings on rollback rules: simulated rollouts, the verdict, and the rows of the table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import shown_percent
from workbench.core.verdict import Verdict, objections
from workbench.questions.rollout.odds.spec import OddsSpec
from workbench.simulate.rollouts import JUDGES, Odds, odds

N_ROLLOUTS = 200
HALF = 0.5
RULE_HEAD = (
    gettext("Rollback rule"),
    gettext("healthy: rolled back"),
    gettext("chosen: rolled back"),
    gettext("chosen: failed answers"),
)
METHOD = gettext(
    "The new version gets 10, 25, 50 and 100 % of the users, for five intervals each. The sequential test is evaluated after every failure: a mixture "
    "of e-processes over ratios of 1.5 to 10, at a quarter of alpha because three more measures are tested. The threshold rules are evaluated at "
    "intervals: the FAQ's rule (success above 95 %) once a step, and the rule of Flagger's documentation (success above 99 %) once an interval."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOdds:
    """Results of one rollback rule for two new versions."""

    healthy: Odds
    """For a new version that fails as often as the old one."""
    chosen: Odds
    """For a new version of the failure rate that was asked for."""


RuleReport = Mapping[str, RuleOdds]
"""Results by the name of the rule."""


@lru_cache(maxsize=256)
def rule_report(spec: OddsSpec) -> RuleReport:
    """Return the results of each rollback rule over many simulated rollouts."""

    def simulate(judge: str, new_rate: float) -> Odds:
        old_rate, per_interval, alpha = spec.old_rate, spec.per_interval, spec.alpha
        return odds(judge, old_rate=old_rate, new_rate=new_rate, per_interval=per_interval, alpha=alpha, n=N_ROLLOUTS)

    return {
        judge: RuleOdds(healthy=simulate(judge, spec.old_rate), chosen=simulate(judge, spec.new_rate))
        for judge in JUDGES
    }


def verdict(report: RuleReport, spec: OddsSpec) -> Verdict:
    """Return how often the sequential test errs, compared with a fixed threshold."""
    sequential, threshold = (report[rule] for rule in JUDGES[:2])
    alike, worse = sequential.healthy, sequential.chosen
    is_worse = spec.new_rate > spec.old_rate
    points = []
    if alike.rolled_back > threshold.healthy.rolled_back:
        points.append(
            gettext("a fixed threshold rolls back healthy versions less often ({share})").format(
                share=shown_percent(threshold.healthy.rolled_back, 1)
            )
        )
    if is_worse and worse.rolled_back < threshold.chosen.rolled_back:
        points.append(
            gettext("a fixed threshold rolls the degraded version back more often ({share})").format(
                share=shown_percent(threshold.chosen.rolled_back)
            )
        )
    if is_worse and worse.bad_answers > threshold.chosen.bad_answers:
        points.append(
            gettext("with a fixed threshold fewer requests fail until then ({n})").format(
                n=f"{threshold.chosen.bad_answers:,.0f}"
            )
        )
    return Verdict(
        headline=gettext(
            "The sequential test rolls back a healthy version in {healthy} of the rollouts, and a version with {new} % instead of {old} % failures in {degraded} %."
        ).format(
            healthy=shown_percent(alike.rolled_back, 1),
            new=f"{100 * spec.new_rate:g}",
            old=f"{100 * spec.old_rate:g}",
            degraded=f"{100 * worse.rolled_back:.0f}",
        ),
        evidence=gettext(
            "That version fails {n} requests per rollout on average; with a fixed threshold of 95 % success it fails {threshold} of the same traffic, and {degraded} % of its rollouts are rolled back, as are {healthy} of the healthy ones."
        ).format(
            n=f"{worse.bad_answers:,.0f}",
            threshold=f"{threshold.chosen.bad_answers:,.0f}",
            degraded=f"{100 * threshold.chosen.rolled_back:.0f}",
            healthy=shown_percent(threshold.healthy.rolled_back, 1),
        ),
        objection=objections(points),
        scope=gettext(
            "Failures are taken to be independent: bursts on one server are counted as one before the test sees them."
        ),
        answer="yes" if not is_worse or worse.rolled_back >= HALF else "no",
        best=JUDGES[0],
        provenance=Provenance.SIMULATED,
    )


def rule_rows(report: RuleReport) -> list[tuple[str, ...]]:
    """Return the cells of ``RULE_HEAD`` for each rollback rule."""
    return [
        (
            gettext(judge),
            shown_percent(odds.healthy.rolled_back, 1),
            shown_percent(odds.chosen.rolled_back, 1),
            f"{odds.chosen.bad_answers:.0f}",
        )
        for judge, odds in report.items()
    ]
