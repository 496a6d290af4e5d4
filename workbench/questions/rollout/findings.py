"""Findings on rollouts: the verdict, the rows of their tables, and a gateway configuration for the reader's servers."""

from collections.abc import Sequence
from dataclasses import replace

from workbench.core.runs import Run
from workbench.core.verdict import Verdict, objections
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import SCENARIOS, RolloutSpec
from workbench.release.rule import MEASURES, CanaryRule

RESULT_HEAD = (
    "New version",
    "final phase",
    "reason",
    "duration",
    "requests (failed)",
    "next tokens that differ",
    "verified",
)
EVIDENCE_HEAD = ("New version", *MEASURES.values())
GATEWAY = """# gateway.toml: a rollout between your own servers; GET /rollout returns its state
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
"""


def verdict(run: Run) -> Verdict:
    """Return whether each rollout ended as expected, and how soon degraded versions were rolled back."""
    rows = run.rows(RolloutResult)
    n_right, degraded = sum(r.is_right for r in rows), [r for r in rows if r.is_rolled_back]
    unverified = [SCENARIOS[r.scenario] for r in rows if not r.is_verified]
    evidence = "No degraded version was rolled back."
    if degraded:
        slowest_s, most = max(r.duration_s for r in degraded), max(r.n_new for r in degraded)
        evidence = (
            f"Degraded versions were rolled back within {slowest_s:.0f} s, after at most {most:,} of their requests."
        )
    wrong = [SCENARIOS[r.scenario] for r in rows if not r.is_right]
    points = [f"not as they should: {', '.join(wrong)}"] if wrong else []
    if unverified:
        points.append(f"after the end the wrong version answered for: {', '.join(unverified)}")
    power = power_text(run.asked(RolloutSpec))
    return Verdict(
        headline=f"{n_right} of {len(rows)} rollouts ended as they should: healthy versions are to be promoted, degraded versions rolled back.",
        evidence=evidence,
        objection=" ".join(filter(None, (objections(points), power))),
        scope="The new version is compared with the old one, which serves at the same time, after every request: by failures, late TTFT, slow "
        "TPOT, and next tokens that differ.",
        answer="yes" if n_right == len(rows) and not unverified else "no",
    )


def power_text(spec: RolloutSpec) -> str:
    """Return how surely so few requests catch a small rise of the failures, and how many would."""
    rule = CanaryRule(steps=spec.steps, alpha=spec.alpha, least_requests=spec.least_requests)
    needed = replace(rule, least_requests=None).requests_per_step
    rise = f"a rise of the failures from {100 * rule.usual_failures:g} to {100 * rule.caught_failures:g} %"
    return (
        f"With {spec.least_requests:,} requests of the new version a step, {rise} is caught in {100 * rule.power_at_requests:.0f} % of the rollouts; "
        f"{100 * rule.power:g} % take {needed:,}."
    )


def result_rows(rows: Sequence[RolloutResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``RESULT_HEAD`` for each new version."""
    return [
        (
            SCENARIOS[r.scenario],
            r.phase,
            r.reason or "undecided in time",
            f"{r.duration_s:.0f} s",
            f"{r.n_new} ({r.n_new_failed})",
            f"{r.answers.n_differ} of {r.answers.n}",
            "yes" if r.is_verified else "no",
        )
        for r in rows
    ]


def evidence_rows(rows: Sequence[RolloutResult]) -> list[tuple[str, ...]]:
    """Return the cells of ``EVIDENCE_HEAD`` for each new version at its end."""
    return [(SCENARIOS[r.scenario], *(f"{e:.3g}" for e in r.evidence.by_label.values())) for r in rows]
