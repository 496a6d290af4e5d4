"""The search for a batch: beside brute force and within limits on made-up steps, and on the real small model on this CPU."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from workbench.core.errors import DoesNotFit, InvalidSpec, NotAModel
from workbench.core.units import GIB
from workbench.estimate.best_batch import Trial, grid
from workbench.measuring.envelope import run
from workbench.questions.utilization.batch_size import measure
from workbench.questions.utilization.batch_size.findings import batch_rows, trial_rows, verdict
from workbench.questions.utilization.batch_size.rows import BatchChoice, BatchTrial
from workbench.questions.utilization.batch_size.spec import BatchSearchSpec

SPEC = BatchSearchSpec(model="data/models/stdlib-9m", context_tokens=64, largest=64, device="cpu", rounds=5)
REAL = replace(SPEC, largest=12, rounds=3)


class MadeUpSteps:
    """Steps of 10 ms and 0.1 ms a sequence, four times as slow from batch 33 on; 1 GiB, and 16 MiB a sequence."""

    def __init__(self, spec, *, device, is_prefill, limit_s):
        self.limit_s = limit_s

    def now_bytes(self):
        return float(GIB)

    def trial(self, batch, *, limit_bytes):
        step_s = (0.01 + 1e-4 * batch) * (4 if batch > 32 else 1)
        peak = GIB + batch * 16 * 2**20
        is_late = self.limit_s is not None and step_s > self.limit_s
        reason = "memory" if peak > limit_bytes else "latency" if is_late else None
        return Trial(batch=batch, seconds=(step_s,) * 5, peak_bytes=peak, reason=reason)

    def close(self):
        """Nothing to give back."""


def best_of(run):
    return run.row(BatchChoice).best_batch


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(measure, "BatchSteps", MadeUpSteps)


@pytest.mark.usefixtures("made_up")
def test_the_search_finds_the_batch_of_brute_force_and_predicts_memory():
    searched, every = run(SPEC), run(replace(SPEC, is_exhaustive=True))
    assert best_of(searched) == best_of(every) == 32
    assert [r.batch for r in every.rows(BatchTrial)] == grid(64)
    predictions = [(r.predicted_bytes, r.peak_bytes) for r in searched.rows(BatchTrial) if r.predicted_bytes]
    assert predictions
    assert all(predicted == pytest.approx(peak) for predicted, peak in predictions)
    answer = verdict(searched)
    assert "the search ended at the largest batch" in answer.evidence
    assert answer.best == "32"
    assert "2420 tokens/s, 24.5x batch size 1" in answer.headline
    assert {row[0] for row in batch_rows(searched)} == {str(r.batch) for r in searched.rows(BatchTrial)}
    assert len(trial_rows(searched)) == len(searched.rows(BatchTrial))


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(
    ("limits", "best", "status"), [({"latency_ms": 10.8}, 8, "latency"), ({"memory_gib": 1.2}, 12, "memory")]
)
def test_limits_on_time_and_memory_are_kept(limits, best, status):
    limited = run(replace(SPEC, **limits))
    assert best_of(limited) == best
    assert {r.status for r in limited.rows(BatchTrial) if r.batch > best} == {status}
    assert {r.status for r in limited.rows(BatchTrial) if r.batch <= best} == {"fits"}
    assert f"the {status} limit binds from batch size" in verdict(limited).evidence


@pytest.mark.usefixtures("made_up")
def test_limits_that_no_batch_keeps_have_no_answer():
    nothing = run(replace(SPEC, latency_ms=1.0))
    assert best_of(nothing) is None
    assert verdict(nothing) is None
    with pytest.raises(DoesNotFit, match=r"The model alone takes 1\.00 GiB of 0\.50"):
        run(replace(SPEC, memory_gib=0.5))


def test_a_real_model_is_searched_with_few_trials_and_gives_its_memory_back():
    before = psutil.Process().memory_info().rss
    searched = run(REAL)
    assert best_of(searched) in grid(REAL.largest)
    off = [r.predicted_bytes / r.peak_bytes - 1 for r in searched.rows(BatchTrial) if r.predicted_bytes]
    assert np.median(np.abs(off)) <= 0.1
    assert psutil.Process().memory_info().rss - before < 300e6  # the model's 37 MB and caches, not 64 batches
    assert len(searched.rows(BatchTrial)) <= len(grid(REAL.largest)) + 8


def test_prefill_is_searched_too():
    assert best_of(run(replace(REAL, work="prefill", largest=2))) in grid(2)


def test_invalid_specs_are_refused():
    with pytest.raises(InvalidSpec, match="rounds is 2"):
        replace(SPEC, rounds=2)
    with pytest.raises(InvalidSpec, match="latency_ms is 0"):
        replace(SPEC, latency_ms=0.0)
    with pytest.raises(NotAModel):
        run(replace(SPEC, model="/nowhere"))
    with pytest.raises(InvalidSpec, match=r"takes at most 8,192 tokens.*8,190 in and 7 out"):  # the steps count too
        run(replace(SPEC, context_tokens=8190))
