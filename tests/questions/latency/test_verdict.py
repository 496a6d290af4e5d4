"""What the verdicts on latency claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.questions.latency.faults.findings import verdict as faults_verdict
from workbench.questions.latency.faults.rows import FaultsSamples, Score
from workbench.questions.latency.findings import Diagnosis, Ranked, diagnose, differences_of
from workbench.questions.latency.findings.answers import verdict
from workbench.questions.latency.rows import Evidence
from workbench.store.runs import read_run_file

HEALTHY, PAUSES = (read_run_file(MEASURED / "diagnosis" / f"201-{n}.json") for n in ("healthy-0", "server-pauses-high"))
H100 = read_run_file(MEASURED / "load_llama-3.1-8b-shape_conv-50-percent_h100.json")
FAULTS = read_run_file(MEASURED / "faults_stdlib-9m_epyc-2-cores.json")


def test_loads_of_other_models_or_machines_name_no_cause_and_list_the_differences():
    diagnosis = diagnose(H100, HEALTHY)
    answer = verdict(diagnosis, None)
    assert (diagnosis.named, answer.best, answer.answer) == (None, None, "open")
    assert "cannot be compared" in answer.headline
    assert "NVIDIA H100 80GB HBM3 and AMD EPYC" in answer.evidence
    assert {d.split(":")[0] for d in differences_of(H100, HEALTHY)} >= {"model", "device"}
    assert differences_of(HEALTHY, PAUSES) == ()
    assert diagnose(HEALTHY, PAUSES).named is not None


@st.composite
def diagnoses(draw):
    causes = []
    for i in range(3):
        evidence = tuple(
            Evidence(text=f"clue {i}{k}", score=draw(st.integers(-10, 10)) / 10, weight=1.0)
            for k in range(draw(st.integers(0, 3)))
        )
        causes.append(
            Ranked(
                key=f"k{i}",
                title=f"Cause {i}",
                remedy="Mend it.",
                score=0.5,
                probability=draw(st.integers(0, 100)) / 100,
                evidence=evidence,
            )
        )
    symptoms = ("TTFT 50 → 500 ms",) if draw(st.booleans()) else ()
    return Diagnosis(
        symptoms=symptoms,
        causes=tuple(causes),
        abstains=draw(st.sampled_from((None, "two causes are about equally likely"))) if symptoms else None,
        withheld=None if symptoms else draw(st.sampled_from((None, "others used 2.0 cores"))),
        differences=draw(st.sampled_from(((), ("device: A and B",)))),
    )


@given(diagnoses())
def test_every_claim_of_the_verdict_follows_from_the_diagnosis(d):
    answer, top = verdict(d, None), d.causes[0]
    if d.differences or d.withheld or d.abstains:
        assert (answer.answer, answer.best) == ("open", None)
    elif not d.symptoms:
        assert answer.answer == "yes"
        assert "no change" in answer.headline
    else:
        assert (answer.answer, answer.best) == ("no", "k0")
        assert f"(probability {100 * top.probability:.0f} %)" in answer.headline
        for e in top.evidence:
            assert (e.text in answer.evidence) == (e.score > 0.3)
            assert (e.text.lower() in (answer.objection or "").lower()) == (e.score < -0.1)
    assert answer.objection != "no evidence."


SHARES = st.integers(0, 100).map(lambda n: Interval(n / 100, max(0, n - 10) / 100, min(100, n + 5) / 100))


@given(st.lists(st.tuples(SHARES, SHARES, SHARES), min_size=1, max_size=4))
def test_every_claim_of_the_verdict_on_faults_follows_from_the_scores(drawn):
    rows = [replace(r, top1=a, top3=b, false_alarms=c) for r, (a, b, c) in zip(FAULTS.rows(Score), drawn, strict=False)]
    answer = faults_verdict(replace(FAULTS, results=rows))
    own, *others = rows
    shown = [int(x) for x in re.findall(r"(\d+) % of|in (\d+) %", answer.headline)[0] if x]
    assert shown[0] == round(100 * own.top1.value)
    assert f"interval of the first figure: {100 * own.top1.low:.0f} % to {100 * own.top1.high:.0f} %" in answer.evidence
    most = max((r.top1.value for r in others), default=None)
    assert (most is not None) == ("best simple method" in answer.evidence)
    if most is not None:
        name = re.search(r"simple method, (.*), names (\d+) %", answer.evidence)
        assert next(r for r in others if r.method == name[1]).top1.value == most
        assert ("names more causes" in (answer.objection or "")) == (most > own.top1.value)
    missed = [
        e for e in FAULTS.sampled(FaultsSamples).episodes if e.cause and e.took_effect and e.answer.named != e.cause
    ]
    assert all(e.fault in answer.objection for e in missed)
