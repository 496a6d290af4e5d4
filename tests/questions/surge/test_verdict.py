"""What the verdicts on surges claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.core.errors import WorkbenchError
from workbench.questions.surge.findings import verdict
from workbench.questions.surge.rows import SurgeResult
from workbench.questions.surge.scaling.findings import traffic_of
from workbench.questions.surge.scaling.findings import verdict as scaling_verdict
from workbench.questions.surge.scaling.spec import ScalingSpec
from workbench.questions.surge.spec import CONTROLS
from workbench.simulate.autoscaling import Played
from workbench.store.runs import read_run_file

RUN = read_run_file(MEASURED / "surge_stdlib-9m_epyc-2-cores.json")
RULES = ("fixed, for the peak minute (9)", "fixed, for the mean (3)", "queue length (KEDA: 5 waiting)", "utilization (HPA: 70 %)",
         "workbench (trend plus its error)", "workbench, shorter answers")  # fmt: skip


@st.composite
def surges(draw):
    made = []
    for row in RUN.rows(SurgeResult):
        if not made or draw(st.booleans()):
            fractions = {
                "goodput_fraction": draw(st.integers(0, 180)) / 100,
                "refused_fraction": draw(st.integers(0, 90)) / 100,
                "degraded_fraction": draw(st.sampled_from((0.0, 0.2))),
                "least_fair_share_fraction": draw(st.sampled_from((None, 0.2, 0.9))),
            }
            made.append(replace(row, recovery_s=draw(st.sampled_from((1.0, 8.9))), **fractions))
    return replace(RUN, results=made)


@given(surges())
def test_every_claim_of_the_verdict_follows_from_the_rows(run):
    answer, rows = verdict(run), {r.controls: r for r in run.results}
    best = rows[answer.best]
    assert best.goodput_fraction == max(r.goodput_fraction for r in rows.values())
    assert f"“{CONTROLS[answer.best]}”, goodput is {100 * best.goodput_fraction:.0f} %" in answer.headline
    bare = rows.get("direct") or rows.get("open")
    if bare and bare is not best:
        assert f"Without a gateway it is {100 * bare.goodput_fraction:.0f} %" in answer.headline
        assert ("had not recovered" in answer.headline) == (bare.recovery_s > 8)
    assert f"Of all requests of the surge, {100 * best.refused_fraction:.0f} %" in answer.evidence
    assert ("beyond it go" in answer.evidence) == (best.goodput_fraction > 1)
    against = answer.objection or ""
    assert ("below 90 %" in against) == (best.goodput_fraction < 0.9)
    assert ("than half of its fair share" in against) == ((best.least_fair_share_fraction or 0) < 0.5)
    assert ("got a shorter answer" in against) == (best.degraded_fraction > 0)
    fair = re.search(r"fair share with: (.*?)\. The", answer.scope)[1]
    expected = [CONTROLS[r.controls] for r in rows.values() if (r.least_fair_share_fraction or 0) >= 0.5]
    assert fair == ("; ".join(expected) or "none of the controls")


def test_goodput_above_the_capacity_is_explained():
    assert "answers from the cache and shorter answers" in verdict(RUN).evidence


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 90)), min_size=6, max_size=6))
def test_every_claim_of_the_verdict_on_scaling_follows_from_what_was_played(drawn):
    none = np.zeros(1)
    rest = {
        "late_fraction": 0.0,
        "most": 1,
        "n_changes": 0,
        "wait_p99_s": 0.0,
        "shorter_fraction": 0.0,
        "replicas": none,
        "waits_s": none,
    }
    played = {n: Played(slo_minutes=m, gpu_hours=h, **rest) for n, (m, h) in zip(RULES, drawn, strict=True)}
    best = [
        n for n, (m, h) in zip(RULES, drawn, strict=True)
        if not any((a <= m and b < h) or (a < m and b <= h) for a, b in drawn)
    ]  # fmt: skip
    answer = scaling_verdict(played, best, ScalingSpec())
    minutes, hours = played[answer.best].slo_minutes, played[answer.best].gpu_hours
    assert (minutes, hours) == min(drawn)
    assert f"{minutes:.1f} min at {hours:.1f} GPU hours" in answer.headline
    usual = min(drawn[2:4])
    fixed = min(drawn[:2])
    for kind, names in ((usual, RULES[2:4]), (fixed, RULES[:2])):
        if answer.best not in names:
            assert f"{kind[0]:.1f} min at {kind[1]:.1f} GPU hours" in answer.evidence
    cheaper = any(played[n].gpu_hours < 0.9 * hours for n in best)
    assert cheaper == ("needs less" in (answer.objection or ""))


def test_a_trace_that_is_not_there_is_refused_at_once():
    with pytest.raises(WorkbenchError, match="nope"):
        traffic_of(ScalingSpec(trace="/nope.csv"))
