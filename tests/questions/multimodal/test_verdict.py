"""What the verdicts on several modalities claim, counted again from the same rows by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.measuring.interleaved import BatchTimes, Speedup
from workbench.questions.multimodal.findings import verdict
from workbench.questions.multimodal.fusion.findings import verdict as fusion_verdict
from workbench.questions.multimodal.fusion.rows import DropoutGain, Routing
from workbench.questions.multimodal.rows import BreakEven, Cell
from workbench.questions.multimodal.tokens.findings import cost_rows
from workbench.questions.multimodal.tokens.findings import verdict as tokens_verdict
from workbench.questions.multimodal.tokens.spec import ImageCostSpec
from workbench.store.runs import read_run_file

FUSION = read_run_file(MEASURED / "fusion_digits_epyc-2-cores.json")
IMAGES = read_run_file(MEASURED / "images_qwen3-vl-8b-shape_h200.json")


@st.composite
def fusions(draw):
    drops = []
    for row in FUSION.rows(DropoutGain)[: draw(st.integers(1, 3))]:
        low, ratio, high = sorted(draw(st.lists(st.integers(5, 150), min_size=3, max_size=3)))
        drops.append(replace(row, ratio=ratio / 100, ratio_interval=(low / 100, high / 100)))
    routing, times = FUSION.rows(Routing)[0], {}
    for batch in (1, 64):
        ratio, kind = (
            draw(st.integers(50, 200)) / 100,
            draw(st.sampled_from(("faster", "slower", "no difference shown"))),
        )
        times[batch] = BatchTimes(
            p50_s=1.0, p99_s=1.0, n=100, speedup=Speedup(ratio=ratio, ratio_interval=(ratio, ratio), verdict=kind)
        )
    lost = draw(st.integers(0, 40)) / 1000
    return replace(
        FUSION, results=[*drops, replace(routing, times=times, held_out=replace(routing.held_out, lost_fraction=lost))]
    )


@given(fusions())
def test_every_claim_of_the_verdict_on_fusions_follows_from_the_rows(run):
    answer, (*drops, routing) = fusion_verdict(run), run.results
    least = min(d.ratio for d in drops)
    best = next(d for d in drops if d.ratio == least)
    assert f"{best.fusion} fusion loses" in answer.headline
    assert (answer.answer == "yes") == (best.ratio_interval[1] < 1)
    against = answer.objection or ""
    slower = [b for b, t in routing.times.items() if t.speedup.verdict == "slower"]
    assert bool(slower) == ("outing is slower" in against)
    for b, t in routing.times.items():
        assert f"{t.speedup.ratio:.2f} at batch size {b}" in answer.evidence
    assert (routing.held_out.lost_fraction > routing.threshold.limit_fraction) == ("more than it guarantees" in against)


def test_routing_that_is_slower_is_not_praised():
    answer = fusion_verdict(FUSION)
    assert "outing is slower than always reading the image, with a speed-up of 0.77 at batch size 1" in answer.objection


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from((None, 0.3))), min_size=2, max_size=2)
)
def test_every_claim_of_the_verdict_on_images_follows_from_the_rows(drawn):
    caches = [
        replace(r, without_s=a / 1e3, missed_s=b / 1e3, hit_rate=rate)
        for r, (a, b, rate) in zip(IMAGES.rows(BreakEven), drawn, strict=False)
    ]
    others = [r for r in IMAGES.results if not isinstance(r, BreakEven)]
    answer = verdict(replace(IMAGES, results=[*others, *caches]))
    against = answer.objection or ""
    dearer = [b / a - 1 for a, b, _ in drawn if b > a]
    said = re.search(r"costs (\d+) % more TTFT", against)
    assert bool(said) == bool(dearer)
    if dearer:
        assert abs(int(said[1]) - 100 * max(dearer)) <= 0.5 + 1e-9  # half a percent rounds either way
    assert any(rate is None for *_, rate in drawn) == ("no hit rate makes" in against.lower())
    held = [c for c in IMAGES.rows(Cell) if c.is_held_out]
    within = sum(abs(c.error_fraction) <= 0.15 for c in held)
    assert f"for {within} of {len(held)} held-out" in answer.evidence


def test_a_request_beyond_context_and_memory_is_refused_without_a_price():
    spec = ImageCostSpec(model="Qwen/Qwen3-VL-8B-Instruct", size="1024x1024", n_images=100, text_tokens=10**6)
    answer = tokens_verdict(spec)
    assert answer.answer == "no"
    assert "exceed the model's context" in answer.headline
    assert "weights and KV cache take" in answer.headline
    assert not any("USD" in value for _, value in cost_rows(spec))
    assert tokens_verdict(replace(spec, n_images=1, text_tokens=64)).answer == "yes"
