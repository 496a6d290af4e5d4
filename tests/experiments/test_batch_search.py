"""The search on the real small model on this CPU: beside brute force, within limits, with memory predicted."""

from dataclasses import replace

import numpy as np
import psutil
import pytest

from workbench.core.batch_search import BatchSearchSpec
from workbench.core.errors import DoesNotFit, InvalidSpec, NotAModel
from workbench.estimate.best_batch import grid
from workbench.experiments.batch_search import run

SPEC = BatchSearchSpec(model="data/models/stdlib-9m", context_tokens=64, largest=64, device="cpu", rounds=5)


def test_the_batch_is_that_of_brute_force_or_nearly_as_fast_and_memory_is_as_predicted():
    before = psutil.Process().memory_info().rss
    found = run(SPEC)
    every = run(replace(SPEC, is_exhaustive=True))
    best, true = found.samples["best_batch"], every.samples["best_batch"]
    choices = grid(SPEC.largest)
    assert (
        abs(choices.index(best) - choices.index(true)) <= 1
        or every.samples["per_s"][str(best)] >= 0.8 * (every.samples["per_s"][str(true)])
    )
    off = [r["predicted_bytes"] / r["peak_bytes"] - 1 for r in found.results if r["predicted_bytes"]]
    assert np.median(np.abs(off)) <= 0.1
    assert psutil.Process().memory_info().rss - before < 300e6  # the model's 37 MB and caches, not 64 batches
    assert len(found.results) <= len(every.results) + 8


def test_limits_on_time_and_memory_are_kept():
    step_ms = 1e3 * run(replace(SPEC, largest=1)).results[0]["p50_s"]
    limited = run(replace(SPEC, latency_ms=3 * step_ms))
    best = limited.samples["best_batch"]
    kept = [r for r in limited.results if r["batch"] == best]
    assert min(r["p90_s"] for r in kept) <= 3e-3 * step_ms
    assert all(r["status"] in {"fits", "latency"} for r in limited.results)
    with pytest.raises(DoesNotFit, match="The model alone takes"):
        run(replace(SPEC, memory_gib=0.01))
    nothing = run(replace(SPEC, latency_ms=1e-3))
    assert nothing.samples["best_batch"] is None
    assert nothing.results[0]["status"] == "latency"


def test_reading_prompts_is_searched_too():
    found = run(replace(SPEC, work="prefill", largest=8))
    assert found.samples["best_batch"] in grid(8)


def test_odd_wishes_are_refused():
    with pytest.raises(InvalidSpec, match="rounds is 2"):
        replace(SPEC, rounds=2)
    with pytest.raises(InvalidSpec, match="latency_ms is 0"):
        replace(SPEC, latency_ms=0.0)
    with pytest.raises(NotAModel):
        run(replace(SPEC, model="/nowhere"))
