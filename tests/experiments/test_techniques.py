"""Techniques on the reference model: gains in turns, honest absences, profiles that add up, and claims beside them."""

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.catalog.tables import claims
from workbench.compress.technique_steps import category
from workbench.core.errors import InvalidSpec
from workbench.core.techniques import TechniquesSpec
from workbench.experiments.technique_verdict import bound_by, claims_here
from workbench.experiments.techniques import run


@pytest.fixture(scope="module")
def measured():
    chosen = ("batching", "overlap", "graphs", "pool", "precision")
    return run(TechniquesSpec(model=str(REFERENCE_MODEL), techniques=chosen, rounds=5, context_tokens=64, device="cpu"))


def test_a_batch_does_more_and_every_gain_has_its_interval(measured):
    rows = {r["technique"]: r for r in measured.results}
    assert rows["batching"]["gain"] > 1.2  # eight sequences cost less than eight steps
    for name in ("batching", "overlap", "precision"):
        row = rows[name]
        assert row["status"] == "measured"
        assert row["gain_low"] <= row["gain"] <= row["gain_high"]
        assert row["gain"] == pytest.approx(row["without_s"] / row["with_s"], rel=0.5)
    assert rows["graphs"] | {"status": "not available"} == rows["graphs"]
    assert "NVIDIA GPU" in rows["graphs"]["reason"]


def test_blocks_leave_less_of_the_cache_empty(measured):
    row = next(r for r in measured.results if r["technique"] == "pool")
    assert row["provenance"] == "estimated"
    assert 0 < row["with_fraction"] < 0.1 < row["without_fraction"] < 1
    # Half a block of each sequence is empty on average.
    assert row["with_fraction"] == pytest.approx(16 / (256 + 16), abs=0.03)


def test_a_profile_adds_up_and_names_what_bounds_a_step(measured):
    for profile in measured.samples["profiles"].values():
        assert sum(profile["by_category_s"].values()) == pytest.approx(profile["busy_s"])
        assert profile["n_operators"] > 20
        assert profile["largest"][0]["s"] >= profile["largest"][-1]["s"]
        shares = bound_by(profile, measured.samples["roof"])
        assert 0 < shares["compute"] < 1.5
        assert 0 <= shares["neither"] < 1
    one, many = (measured.samples["profiles"][f"a token for {n}"] for n in ("one sequence", "8 sequences"))
    assert many["flop"] == pytest.approx(8 * one["flop"], rel=0.2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::scaled_dot_product_attention", "attention"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::copy_", "copies and layout"),
        ("aten::silu", "other arithmetic"),
        ("nvjet_hsh_128x256_64x4", "matrix products"),
    ],
)
def test_operators_are_sorted_by_what_they_do(name, kind):
    assert category(name) == kind


def row(technique, **figures):
    return {"technique": technique, "label": technique, "status": "measured"} | figures


def test_claims_stand_as_they_are_measured():
    rows = [row("batching", gain=3.0), row("precision", gain=1.2), row("overlap", reduction_percent=1.0)]
    told = {(c.claim.technique, c.claim.metric): c.outcome for c in claims_here(claims(), rows)}
    assert told["dynamic batching", "throughput_gain"] == "confirmed"
    assert told["mixed precision", "speedup"] == "partly"
    assert told["asynchronous inference", "latency_reduction"] == "refuted"
    assert told["memory pool", "fragmentation_reduction"] == "not yet tested"
    assert told["dynamic batching", "gpu_utilisation"] == "not yet tested"


def test_odd_wishes_are_refused():
    with pytest.raises(InvalidSpec, match="no technique magic"):
        TechniquesSpec(model="m", techniques=("magic",))
    with pytest.raises(InvalidSpec, match="batch of 1"):
        TechniquesSpec(model="m", batch=1)
