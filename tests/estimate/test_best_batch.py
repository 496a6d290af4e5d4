"""The search for a batch against brute force over the whole grid, on made-up devices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.estimate.best_batch import Search, Trial, grid, search


def device(*, fixed_s, each_s, wide_from, base, each, latency_s, memory):
    """Steps that are flat until the units are full, then linear; memory that is linear."""

    def try_batch(batch):
        seconds = fixed_s + each_s * max(0, batch - wide_from)
        peak = base + each * batch
        reason = "memory" if peak > memory else "latency" if seconds > latency_s else None
        return Trial(batch=batch, seconds=() if peak > 1.5 * memory else (seconds,) * 5, peak_bytes=peak, reason=reason)

    return try_batch


devices = st.fixed_dictionaries(
    {
        "fixed_s": st.floats(1e-3, 1e-1),
        "each_s": st.floats(1e-6, 1e-2),
        "wide_from": st.integers(1, 200),
        "base": st.floats(1e8, 1e10),
        "each": st.floats(1e5, 1e8),
        "latency_s": st.floats(2e-3, 1.0),
        "memory": st.floats(2e8, 3e10),
    }
)


@given(devices, st.integers(1, 512))
@settings(max_examples=60, deadline=None)
def test_the_best_batch_is_that_of_brute_force_or_beside_it(made, largest):
    try_batch = device(**made)
    found = Search()
    trials = list(search(try_batch, largest=largest, memory_bytes=made["memory"], state=found))
    assert trials == found.trials
    choices = grid(largest)
    brute = [t for t in map(try_batch, choices) if t.reason is None]
    if not brute:
        assert found.best is None
        return
    best = max(brute, key=lambda t: t.per_s)
    assert found.best is not None
    assert (
        abs(choices.index(found.best) - choices.index(best.batch)) <= 1 or found.per_s(found.best) >= 0.98 * best.per_s
    )
    # Never more than a tenth above the limit where smaller batches have told the slope.
    assert all(t.peak_bytes <= 1.11 * made["memory"] for t in found.trials if t.batch in found.predicted_bytes)
    # Few trials: no more than a search by halving in both directions needs, and the repeats.
    assert len(trials) <= 4 * np.log2(len(choices) + 1) + 12


@given(devices)
@settings(max_examples=30, deadline=None)
def test_memory_that_is_a_straight_line_is_predicted_exactly(made):
    found = Search()
    list(search(device(**made), largest=256, memory_bytes=made["memory"], state=found))
    peaks = {t.batch: t.peak_bytes for t in found.trials}
    for batch, predicted in found.predicted_bytes.items():
        assert predicted == pytest.approx(peaks[batch])


def test_an_error_of_memory_in_the_middle_is_survived():
    def try_batch(batch):
        if batch > 20:
            return Trial(batch=batch, peak_bytes=0.0, reason="memory")
        return Trial(batch=batch, seconds=(0.01,) * 3, peak_bytes=1e6 * batch)

    found = Search()
    list(search(try_batch, largest=512, memory_bytes=1e12, state=found))
    assert found.best == 16


def test_the_grid_has_two_steps_for_each_doubling_and_its_end():
    assert grid(1) == [1]
    assert grid(20) == [1, 2, 3, 4, 6, 8, 12, 16, 20]
    assert all(b / a <= 2 for a, b in zip(grid(1000), grid(1000)[1:], strict=False))


def test_not_even_one_fits():
    found = Search()
    never = Trial(batch=1, peak_bytes=9e9, reason="memory")
    assert list(search(lambda batch: never, largest=64, memory_bytes=1e9, state=found)) == [never]
    assert found.best is None
