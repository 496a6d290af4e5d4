"""What the verdicts on long contexts claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.attention.rows import Cell, Prefill
from workbench.catalog.attention_techniques import TECHNIQUES
from workbench.catalog.models import language_model_from
from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.questions.long_context import findings
from workbench.questions.long_context.attention.findings import verdict as attention_verdict
from workbench.questions.long_context.quality.findings import verdict as quality_verdict
from workbench.questions.long_context.quality.rows import VariantResult
from workbench.questions.long_context.rows import Limit, Served
from workbench.questions.long_context.spec import ServingCase
from workbench.store.runs import read_run_file

CONTEXT = read_run_file(MEASURED / "long_context_llama-3.1-8b-shape_h200.json")
QUALITY = read_run_file(MEASURED / "context_quality_stdlib-9m_h200.json")
ATTENTION = read_run_file(MEASURED / "attention_llama-3.1-8b-shape_h200.json")


@st.composite
def attention_cells(draw):
    made = []
    for row in [r for r in ATTENTION.rows(Cell) if r.phase == "prefill"]:
        if draw(st.booleans()):
            p50, spread = draw(st.integers(10, 60)) / 1e4, draw(st.integers(0, 8)) / 1e4
            made.append(replace(row, p50_s=Interval(p50, p50 - spread, p50 + spread), n=draw(st.sampled_from((1, 7)))))
    return made


@given(attention_cells(), st.sampled_from((1024, 131072)))
def test_every_claim_of_the_verdict_on_attention_follows_from_the_cells(cells, length):
    answer = attention_verdict(cells, phase="prefill", length_tokens=length)
    here = [r for r in cells if r.length_tokens == length]
    exact = [r for r in here if TECHNIQUES[r.technique].pattern == "full"]
    if not exact:
        assert (answer.best, answer.answer) == (None, "open")
        return
    least = min(r.p50_s.value for r in exact)
    best = next(r for r in exact if r.technique == answer.best)
    assert best.p50_s.value == least
    equal = [r for r in exact if r is not best and r.p50_s.low <= best.p50_s.high]
    assert ("is the fastest exact kernel" in answer.headline) == (not equal)
    quicker = min((r.p50_s.value for r in here if r not in exact), default=9.0)
    times = re.search(r"is ([\d.]+)× as fast", answer.headline)
    assert bool(times) == (quicker * 1.02 < least)
    if times:
        assert float(times[1]) == pytest.approx(least / quicker, rel=0.01)
    assert (best.n < 3) == ("rounds only" in (answer.objection or ""))
    assert "only in long contexts" not in (answer.objection or "")


@st.composite
def quality_runs(draw):
    base, *others = QUALITY.rows(VariantResult)
    made = [base]
    for row in others[: draw(st.integers(0, 4))]:
        right = draw(st.integers(0, 100)) / 100
        lost, won, p = draw(st.integers(0, 50)), draw(st.integers(0, 50)), draw(st.sampled_from((0.001, 0.5)))
        against = replace(row.against_full, lost=lost, won=won, mcnemar_p=p)
        made.append(replace(row, right_fraction=Interval(right, right, right), against_full=against))
    return replace(QUALITY, results=made)


@given(quality_runs())
def test_every_claim_of_the_verdict_on_quality_follows_from_the_rows(run):
    answer, (base, *others) = quality_verdict(run), run.results
    losing = [r for r in others if r.against_full.mcnemar_p < 0.05 and r.against_full.lost > r.against_full.won]
    keeping = [r for r in others if r not in losing]
    assert f"retrieves {100 * base.right_fraction.value:.0f} %" in answer.headline
    said = re.search(r"no loss beyond chance with (.*)\.", answer.headline)
    assert (said[1].split(" and ") if said else []) == [r.label for r in keeping]
    assert all(f"{r.label} loses {r.against_full.lost} of {r.n}" in answer.evidence for r in losing)
    only = re.search(r"only (\d+) %", answer.headline)
    assert bool(only) == bool(losing)
    if only:
        assert int(only[1]) == round(100 * min(r.right_fraction.value for r in losing))
    assert (answer.best in {r.variant for r in keeping}) if keeping else answer.best is None


@given(st.lists(st.integers(1, 500), min_size=2, max_size=6), st.sampled_from((None, 131_072, 1_000_000)))
def test_every_claim_of_the_verdict_on_a_long_context_follows_from_the_rows(waits, found):
    rows, made = CONTEXT.rows(Prefill), []
    for seconds, row in zip(waits, rows, strict=False):
        made.append(replace(row, ttft_s=seconds / 10))
    limit = replace(CONTEXT.row(Limit), found_tokens=found)
    answer = findings.verdict(replace(CONTEXT, results=[limit, *made]))
    at = max(r.length_tokens for r in made)
    least = min(r.ttft_s for r in made if r.length_tokens == at)
    assert f"at {at:,} tokens" in answer.headline
    assert findings.shown_duration(least) in answer.headline
    assert (found is not None) == ("longest context that fits" in answer.headline)
    assert (bool(found) and found > 131_072) == ("was made for" in (answer.objection or ""))


def test_two_numbers_of_memory_say_what_each_is_of():
    model = language_model_from("data/models/llama-3.1-8b-shape")
    _, _, planned, _ = findings.plan_message(model, ServingCase())
    measured = findings.verdict(CONTEXT).headline
    assert "in a server with 90 % of the memory" in planned
    assert "all free memory, without a server" in measured


def test_a_cached_prefix_is_no_objection():
    answer = findings.verdict(CONTEXT)
    assert CONTEXT.rows(Served)
    assert "prefix" not in answer.objection
    assert "prefix" in answer.scope
