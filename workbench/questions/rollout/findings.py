"""Findings on rollouts: the verdict, the rows of their tables, and a gateway configuration for the reader's servers."""

from collections.abc import Sequence
from dataclasses import replace

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.verdict import Verdict, objections
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import SCENARIOS, RolloutSpec
from workbench.release.judge import shown_reason
from workbench.release.rule import MEASURES, CanaryRule

RESULT_HEAD = (
    gettext("New version"),
    gettext("final phase"),
    gettext("reason"),
    gettext("duration"),
    gettext("requests (failed)"),
    gettext("next tokens that differ"),
    gettext("verified"),
)
EVIDENCE_HEAD = (gettext("New version"), *map(gettext, MEASURES.values()))
GATEWAY = gettext("""# gateway.toml: a rollout between your own servers; GET /rollout returns its state
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
journal = "rollout.journal"   # every step is written to disk before it is taken
steps = [0.1, 0.25, 0.5, 1.0]
power = 0.98                  # a rise of the failures from 1 to 3 % is caught with 98 %: 894 requests a step
# assignment = "user"         # users keep their version; for conversations whose prefixes are cached, and many users
model = "served-model-name-of-both"
gold = "questions.jsonl"      # lines like {"prompt": "The capital of"}
""")


def shown_scenario(name: str) -> str:
    """Return what a reader sees of a new version."""
    return gettext(SCENARIOS[name])


def verdict(run: Run) -> Verdict:
    """Return whether each rollout ended as expected, and how soon degraded versions were rolled back."""
    rows = run.rows(RolloutResult)
    n_right, degraded = sum(r.is_right for r in rows), [r for r in rows if r.is_rolled_back]
    unverified = [shown_scenario(r.scenario) for r in rows if not r.is_verified]
    evidence = gettext("No degraded version was rolled back.")
    if degraded:
        slowest_s, most = max(r.duration_s for r in degraded), max(r.n_new for r in degraded)
        evidence = gettext(
            "Degraded versions were rolled back within {seconds} s, after at most {n} of their requests."
        ).format(seconds=f"{slowest_s:.0f}", n=f"{most:,}")
    wrong, points = [shown_scenario(r.scenario) for r in rows if not r.is_right], []
    if wrong:
        points.append(gettext("not as they should: {versions}").format(versions=gettext(", ").join(wrong)))
    if unverified:
        points.append(
            gettext("after the end the wrong version answered for: {versions}").format(
                versions=gettext(", ").join(unverified)
            )
        )
    objection, against = power_text(run.asked(RolloutSpec)), objections(points)
    if against:
        objection = gettext("{first} {second}").format(first=against, second=objection)
    return Verdict(
        headline=gettext(
            "{n} of {total} rollouts ended as they should: healthy versions are to be promoted, degraded versions rolled back."
        ).format(n=n_right, total=len(rows)),
        evidence=evidence,
        objection=objection,
        scope=gettext(
            "The new version is compared with the old one, which serves at the same time, after every request: by failures, late TTFT, slow TPOT, and next tokens that differ."
        ),
        answer="yes" if n_right == len(rows) and not unverified else "no",
    )


def power_text(spec: RolloutSpec) -> str:
    """Return how surely so few requests catch a small rise of the failures, and how many would."""
    rule = CanaryRule(steps=spec.steps, alpha=spec.alpha, least_requests=spec.least_requests)
    needed = replace(rule, least_requests=None).requests_per_step
    return gettext(
        "With {requests} requests of the new version a step, a rise of the failures from {usual} to {risen} % is caught in {caught} % of the rollouts; {power} % take {needed}."
    ).format(
        requests=f"{spec.least_requests:,}",
        usual=f"{100 * rule.usual_failures:g}",
        risen=f"{100 * rule.caught_failures:g}",
        caught=f"{100 * rule.power_at_requests:.0f}",
        power=f"{100 * rule.power:g}",
        needed=f"{needed:,}",
    )


def result_rows(rows: Sequence[RolloutResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each new version."""
    return [
        (
            shown_scenario(r.scenario),
            gettext(r.phase),
            shown_reason(r.reason) if r.reason else gettext("undecided in time"),
            f"{r.duration_s:.0f} s",
            f"{r.n_new} ({r.n_new_failed})",
            gettext("{n} of {total}").format(n=r.answers.n_differ, total=r.answers.n),
            gettext("yes") if r.is_verified else gettext("no"),
        )
        for r in rows
    ]


def evidence_rows(rows: Sequence[RolloutResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``EVIDENCE_HEAD`` for each new version at its end."""
    return [(shown_scenario(r.scenario), *(f"{e:.3g}" for e in r.evidence.by_label.values())) for r in rows]
