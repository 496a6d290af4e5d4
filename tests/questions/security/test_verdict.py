"""What the verdict on redaction claims, counted again from the same scores by code of its own."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.questions.security.findings import verdict
from workbench.questions.security.rows import DetectorScore, RedactionSamples
from workbench.questions.security.spec import OWN
from workbench.store.runs import read_run_file

RUN = read_run_file(MEASURED / "redaction_epyc-2-cores.json")
ROWS = [r for r in RUN.rows(DetectorScore) if r.detector == OWN]


def share(percent):
    return None if percent is None else Interval(percent / 100, percent / 100, percent / 100)


PERCENTS = st.one_of(st.none(), st.integers(80, 100))


@given(st.lists(st.tuples(PERCENTS, PERCENTS), max_size=len(ROWS)), st.integers(0, 3))
def test_every_claim_of_the_verdict_follows_from_the_scores(drawn, n_different):
    rows = [replace(r, recall=share(a), precision=share(b)) for r, (a, b) in zip(ROWS, drawn, strict=False)]
    samples = replace(RUN.sampled(RedactionSamples), n_streams_different=n_different)
    answer = verdict(replace(RUN, results=rows, samples=samples))
    if not rows:
        assert answer.answer == "open"
        assert "every class" not in answer.headline
        return
    good = [min(a or 0, b or 0) >= 95 for a, b in drawn]
    assert ("every class" in answer.headline) == all(good) == (answer.answer == "yes")
    if not all(good):
        assert f"in {sum(good)} of {len(good)} classes" in answer.headline
    weak = [r.kind.lower() for r, is_good in zip(rows, good, strict=True) if not is_good]
    assert all(f"{k}: recall" in (answer.objection or "").lower() for k in weak[:3])
    if len(weak) < 3:
        assert ("streams were redacted differently" in (answer.objection or "")) == (n_different > 0)
    least = min(min(a or 0, b or 0) for a, b in drawn)
    assert any(
        f"weakest class is {r.kind.lower()}:" in answer.evidence
        for r, (a, b) in zip(rows, drawn, strict=True)
        if min(a or 0, b or 0) == least
    )


def test_what_is_no_objection_is_none():
    assert verdict(RUN).objection is None
