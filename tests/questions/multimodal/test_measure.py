"""What is made of answers about images: the shipped run's raw samples give its rows, and odd wishes are refused."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.catalog.vision import vision_model
from workbench.core.errors import InvalidSpec
from workbench.questions.multimodal.measure import cell_rows, stream_rows
from workbench.questions.multimodal.measure.requests import Engine, cell_rounds, stream_rounds
from workbench.questions.multimodal.rows import BreakEven, EngineStart, ImagesSamples, Stream, cells
from workbench.questions.multimodal.spec import ImagesSpec
from workbench.store.runs import runs_in_folder


@pytest.fixture(scope="module")
def shipped():
    return next(r for r in runs_in_folder(MEASURED) if r.kind == "images")


def test_the_samples_of_the_shipped_run_give_its_rows(shipped):
    """Samples are kept to the microsecond."""
    spec, engines = shipped.asked(ImagesSpec), shipped.sampled(ImagesSamples).engines
    again = list(cell_rows(spec, vision_model(spec.vision), engines["none"], device_id=shipped.environment.device_id))
    assert len(again) == len(cells(shipped))
    for new, old in zip(sorted(again, key=lambda c: c.ttft_p50_s), cells(shipped), strict=True):
        assert new.ttft_p50_s == pytest.approx(old.ttft_p50_s, abs=2e-6)
        assert new.predicted.ttft_s == pytest.approx(old.predicted.ttft_s, rel=1e-3)
    again = list(stream_rows(spec, engines))
    assert [s.hit_rate for s in again if isinstance(s, Stream)] == [s.hit_rate for s in shipped.rows(Stream)]
    evens = [e for e in again if isinstance(e, BreakEven)]
    for new, old in zip(evens, shipped.rows(BreakEven), strict=True):
        assert new.hit_rate == pytest.approx(old.hit_rate, abs=1e-3)
        assert new.by_parts_hit_rate == pytest.approx(old.by_parts_hit_rate, abs=1e-3)
        assert new.hit_rate_interval == pytest.approx(old.hit_rate_interval, abs=1e-2)


class FakeDialogue:
    """An engine's replies, as ``inside_vllm/images.py`` gives them."""

    def __init__(self):
        self.commands = []

    def heard(self):
        return {"ready_s": 1.0, "encoder_params": 5, "n_projectors": 4}

    def ask(self, **command):
        self.commands.append(command)
        if command["do"] == "hash":
            return {"hash_s": 0.00123456789}
        return {"ttft_s": 0.1, "accept_s": 0.02, "encoder_s": 0.03, "projector_s": 0.01, "prompt_tokens": 80}


def test_an_engine_keeps_every_request_but_those_that_warm_up():
    spec, dialogue = ImagesSpec(repeats=3, requests_per_rate=2), FakeDialogue()
    engine = Engine(dialogue)
    for step in (*cell_rounds(spec), *stream_rounds(spec)):
        engine.ask(step)
    samples = engine.samples()
    assert samples.start == EngineStart(ready_s=1.0, encoder_params=5, n_projectors=4)
    assert sorted(t.n_tokens for t in samples.texts) == [96, 1024, 4096]
    assert len(samples.images) == 2 * len(spec.sizes) + 3 * len(spec.held_out_sizes)
    assert {len(s.requests) for s in (*samples.texts, *samples.images)} == {3}
    assert [s.hit_rate for s in samples.streams] == list(spec.hit_rates)
    assert [r.is_hit for r in samples.streams[-1].requests] == [True, True]
    assert samples.hash_s == [0.001235, 0.001235]
    assert {c["do"] for c in dialogue.commands} == {"text", "images", "about", "hash"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"hit_size": "big"},
        {"sizes": ("224x224", "448x448")},
        {"caches": ("encoder",)},
        {"caches": ("none", "magic")},
        {"hit_rates": (1.5,)},
        {"repeats": 0},
    ],
)
def test_odd_wishes_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        ImagesSpec(**wrong)
