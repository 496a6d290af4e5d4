"""What the verdict on a small device claims, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.measuring.interleaved import interleaved_times
from workbench.questions.edge.findings import setting_rows, settings_under, variant_rows, verdict
from workbench.questions.edge.rows import Limits, Setting, VariantResult
from workbench.store.runs import read_run_file

RUN = read_run_file(MEASURED / "edge_digits_epyc-2-cores.json")
VARIANTS, SETTINGS = RUN.rows(VariantResult), RUN.rows(Setting)


@st.composite
def runs(draw):
    settings = []
    for row in SETTINGS[: draw(st.integers(0, 5))]:
        p50 = draw(st.integers(1, 50)) / 1e4
        times = replace(
            row.times,
            p50_s=p50,
            p99_s=p50 * draw(st.sampled_from((1.1, 5.0, 30.0))),
            n=draw(st.sampled_from((13, 99, 100, 900))),
        )
        settings.append(
            replace(row, times=times, inputs_per_s=row.batch / p50, breaks=draw(st.sampled_from(((), ("accuracy",)))))
        )
    variants = []
    for row in VARIANTS:
        kind = draw(st.sampled_from(("faster", "slower", "no difference shown")))
        times = {b: replace(t, speedup=t.speedup and replace(t.speedup, verdict=kind)) for b, t in row.times.items()}
        variants.append(replace(row, times=times))
    return replace(RUN, results=[*variants, *settings]), draw(st.sampled_from((None, 1.0, 3.0)))


@given(runs())
def test_every_claim_of_the_verdict_follows_from_the_rows(drawn):
    run, latency_ms = drawn
    variants, settings = run.rows(VariantResult), run.rows(Setting)
    shown = settings_under(run, Limits(latency_ms=latency_ms, memory_mib=None, power_w=None))
    answer = verdict(variants, shown, 1)
    within = [
        s for s in settings if "accuracy" not in s.breaks and (latency_ms is None or 1e3 * s.times.p99_s <= latency_ms)
    ]
    if within:
        fastest = max(s.inputs_per_s for s in within)
        best = next(s for s in within if s.inputs_per_s == fastest)
        assert answer.best in {s.technique for s in within if s.inputs_per_s == fastest}
        assert f"{fastest:,.0f} inputs/s" in answer.headline
        assert ("p99" in answer.headline) == (best.times.n >= 100)
        assert ("too few for a p99" in (answer.objection or "")) == (best.times.n < 100)
        assert ("was not quiet" in (answer.objection or "")) >= (best.times.p99_s > 10 * best.times.p50_s)
    elif settings:
        assert (answer.best, answer.answer) == (None, "no")
        assert "No setting is within these limits; the nearest" in answer.headline
        named = float(re.search(r"([\d,]+) inputs/s", answer.headline)[1].replace(",", ""))
        assert round(named) in {round(s.inputs_per_s) for s in settings}
    kinds = {v.technique: v.times[1].speedup.verdict for v in variants if v.times[1].speedup}
    for kind, words in (
        ("faster", "faster than float32"),
        ("slower", "slower"),
        ("no difference shown", "not shown to differ"),
    ):
        names = [t for t, k in kinds.items() if k == kind]
        for name in names:
            part = next(p for p in answer.evidence.rstrip(".").split("; ") if p.endswith(words))
            assert name in part


def test_a_p99_of_few_batches_is_not_shown():
    few = [replace(s, times=replace(s.times, n=13)) for s in SETTINGS[:1]]
    assert "n = 13" in setting_rows(few)[0]
    assert all("n = " not in cell for cell in variant_rows([v for v in VARIANTS if v.times[1].n >= 100], 1)[0])


def test_a_latency_far_above_the_median_is_an_objection():
    noisy = [replace(v, times={1: replace(v.times[1], p50_s=35e-6, p99_s=37e-3)}) for v in VARIANTS]
    answer = verdict(noisy, [], 1)
    assert "the machine was not quiet" in answer.objection


def test_settings_are_timed_often_enough_for_a_p99():
    import numpy as np

    timed = interleaved_times({"a": lambda x: x}, np.ones((4, 1)), batch=1, rounds=7, seed=0, least=15)
    assert len(timed["a"].samples_s) >= 100
