"""What the shipped runs of served techniques say, counted again from their raw samples, and how the ledger uses it."""

from statistics import fmean, median

import pytest

from workbench.catalog.ledger import MEASURED_OUTCOMES, Evidence, judged
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims
from workbench.questions.utilization.claims import JUDGES
from workbench.questions.utilization.served.findings import CLAIMED_AS
from workbench.questions.utilization.served.rows import NotServed, ServedGain, ServedTechniquesSamples
from workbench.questions.utilization.served.spec import SIDES, ServedTechniquesSpec
from workbench.store.runs import read_run_file

FILES = sorted(MEASURED.glob("served_techniques_*_h200.json"))


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def run(request):
    return read_run_file(request.param)


def test_every_technique_has_a_row_and_every_launch_all_its_rounds(run):
    spec = run.asked(ServedTechniquesSpec)
    rows, missing = run.rows(ServedGain), run.rows(NotServed)
    assert {r.technique for r in rows} | {r.technique for r in missing} == set(spec.techniques)
    loads = run.sampled(ServedTechniquesSamples).loads
    for row in rows:
        assert [len(loads[launch]) for launch in SIDES[row.technique]] == [spec.rounds] * 2
    assert not [r for r in missing if "/" in r.reason]


def test_the_rows_are_those_of_the_samples(run):
    loads = run.sampled(ServedTechniquesSamples).loads
    for row in run.rows(ServedGain):
        ratios = [
            b.output_tokens_per_s / a.output_tokens_per_s
            for a, b in zip(*(loads[s] for s in SIDES[row.technique]), strict=True)
        ]
        assert row.throughput_ratio.value == pytest.approx(median(ratios))
        assert row.throughput_ratio.low <= row.throughput_ratio.value <= row.throughput_ratio.high
        for launch, side in zip(SIDES[row.technique], (row.without, row.with_it), strict=True):
            percents = [p for load in loads[launch] for p in load.utilization_percent]
            assert side.utilization_fraction.value == pytest.approx(fmean(percents) / 100)
            assert 0 <= side.utilization_fraction.low <= side.utilization_fraction.high <= 1
            assert side.n_failed == 0


def test_the_ledger_judges_the_claims_by_the_run(run):
    for row in run.rows(ServedGain):
        key = (4, CLAIMED_AS[row.technique], "gpu_utilization")
        claim = next(c for c in claims() if (c.question, c.technique, c.metric) == key)
        (entry,) = judged([claim], JUDGES, Evidence(runs=[run]))
        assert entry.judgement.outcome in MEASURED_OUTCOMES
        assert entry.judgement.value == pytest.approx(100 * row.with_it.utilization_fraction.value)
        assert entry.judgement.runs == (run,)
