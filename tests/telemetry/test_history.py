"""Days of samples: every grain says the same as the samples themselves, also after a kill."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import InvalidSpec, StoreError
from workbench.telemetry.history import GRAINS_S, History
from workbench.telemetry.samples import Signal

SIGNALS = [Signal(name=f"gpu{i}.power_w", unit="W", label="power") for i in range(3)]


@given(
    gaps=st.lists(st.sampled_from([1.0, 1.0, 1.0, 2.0, 45.0, 700.0]), min_size=1, max_size=300),
    pieces=st.integers(1, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_every_grain_agrees_with_the_samples(tmp_path_factory, gaps, pieces, seed):
    rng = np.random.default_rng(seed)
    at = 1000.0 + np.cumsum(gaps)
    values = rng.normal(500, 100, (at.size, 3)).astype(np.float32).astype(float)
    values[rng.random(values.shape) < 0.1] = np.nan
    history = History(tmp_path_factory.mktemp("history") / "h", SIGNALS)
    for chunk in np.array_split(np.arange(at.size), pieces):
        if chunk.size:
            history.append_many(at[chunk], values[chunk])
    for grain in GRAINS_S[1:]:
        rows = history._rows(grain)
        assert np.all(np.diff(rows["at_s"]) > 0)
        for row in rows:
            inside = (at >= row["at_s"]) & (at < row["at_s"] + grain)
            assert inside.any()
            for k in range(3):
                mine = values[inside, k]
                mine = mine[~np.isnan(mine)]
                if mine.size:
                    assert row["low"][k] == pytest.approx(mine.min())
                    assert row["high"][k] == pytest.approx(mine.max())
                else:
                    assert np.isnan(row["mean"][k])
        # All parts but the one that goes on, and for each finer grain one that its own unfinished part holds up.
        n_parts = len(set(np.floor(at / grain)))
        assert n_parts - 1 - GRAINS_S.index(grain) <= rows.size <= n_parts - 1
    span = history.read("gpu1.power_w", at[0], at[-1], most_parts=10**9)
    assert span.mean == pytest.approx(values[~np.isnan(values[:, 1]), 1])


def test_a_coarser_grain_is_chosen_for_a_longer_span_and_keeps_the_peaks(tmp_path):
    history = History(tmp_path, SIGNALS)
    at = np.arange(0.0, 7200.0)
    values = np.full((at.size, 3), 300.0)
    values[4321, 2] = 700.0
    history.append_many(at, values)
    whole = history.read("gpu2.power_w", 0, 7200, most_parts=200)
    assert whole.at_s.size <= 200
    assert whole.high.max() == 700
    assert whole.low.min() == 300
    near = history.read("gpu2.power_w", 4300, 4340, most_parts=200)
    assert near.at_s[near.mean.argmax()] == 4321
    assert history.ends_s == (0.0, 7199.0)


def test_a_writer_that_was_killed_loses_a_second_at_most(tmp_path):
    history = History(tmp_path, SIGNALS)
    history.append_many(np.arange(0.0, 100.0), np.ones((100, 3)))
    file = tmp_path / "1s.rows"
    with file.open("ab") as out:
        out.write(b"half a row")
    os.truncate(tmp_path / "10s.rows", 0)  # and the coarser grains were never written
    again = History(tmp_path)
    assert [s.name for s in again.signals] == [s.name for s in SIGNALS]
    assert again.read("gpu0.power_w", 0, 100).at_s.size == 100
    again.append(100.0, {"gpu0.power_w": 5.0})
    assert again.read("gpu0.power_w", 0, 200).at_s.size == 101
    assert again.read("gpu1.power_w", 0, 200).at_s.size == 100
    assert again._rows(10).size == 10


def test_what_is_no_history_and_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is no history"):
        History(tmp_path / "nowhere")
    history = History(tmp_path / "h", SIGNALS)
    with pytest.raises(StoreError, match="other signals"):
        History(tmp_path / "h", SIGNALS[:2])
    history.append(10.0, {})
    with pytest.raises(InvalidSpec, match="is before"):
        history.append(9.0, {})
    with pytest.raises(InvalidSpec, match="Rows of shape"):
        history.append_many(np.zeros(2), np.zeros((2, 5)))
    with pytest.raises(StoreError, match="no signal"):
        history.read("gpu9.power_w", 0, 1)
    (tmp_path / "h" / "signals.json").write_text("{}")
    with pytest.raises(StoreError, match="cannot be read"):
        History(tmp_path / "h")
