"""Findings on rollouts: the verdict, the rows of their tables, and a gateway configuration for the reader's servers."""

from collections.abc import Sequence

from workbench.core.runs import Run
from workbench.core.verdict import Verdict
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import SCENARIOS
from workbench.release.rule import MEASURES

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
least_requests = 200
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
    check = f"the wrong version answered for: {', '.join(unverified)}" if unverified else "the right version answered"
    return Verdict(
        headline=f"{n_right} of {len(rows)} rollouts ended as they should: healthy versions promoted, degraded versions rolled back.",
        evidence=evidence,
        objection=f"Requests after the end of each rollout verify it: {check}. The new version is compared with the old one, which serves at the "
        "same time, after every request: by failures, late TTFT, slow TPOT, and next tokens that differ.",
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
