"""A broken quantization goes back by itself between two real servers, and a good version takes over."""

import json

import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.core.rollout import RolloutSpec
from workbench.experiments.canary_versions import CanaryVersions, prompts_of
from workbench.experiments.rollout import run
from workbench.release.canary import CanaryRule, Journal, Phase, Rollout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Fewer steps and a higher alpha than one would use, so that a shared machine decides within a minute."""
    spec = RolloutSpec(
        model=str(REFERENCE_MODEL),
        scenarios=("same", "broken"),
        steps=(0.5, 1.0),
        least_requests=10,
        rate_per_s=6.0,
        longest_s=90.0,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("rollout"))
        return run(spec)


@pytest.mark.slow
def test_a_broken_quantization_goes_back_because_its_answers_differ(made):
    row = next(r for r in made.results if r["scenario"] == "broken")
    assert (
        row["phase"] in {"rolled back", "running"} or row["n_answers"] < 30
    )  # it may be promoted before enough is compared
    if row["phase"] == "rolled back":
        assert row["is_verified"]
    assert row["n_answers_differ"] > 0.1 * row["n_answers"]


@pytest.mark.slow
def test_the_same_model_answers_the_same(made):
    row = next(r for r in made.results if r["scenario"] == "same")
    assert row["n_answers_differ"] <= 1
    assert row["evidence"]["disagreement"] < 400


def test_users_keep_their_version_while_shares_grow(tmp_path):
    rule = CanaryRule(least_requests=1, steps=(0.2, 0.6, 1.0))
    rollout = Rollout(Journal(tmp_path / "j"), rule, versions=("old", "new"), set_shares=lambda shares: None)
    versions = CanaryVersions(rollout, salt="s")
    users = [f"user {i}" for i in range(400)]
    before = {u: versions.choose(u) for u in users}
    assert 0.1 < sum(v == "new" for v in before.values()) / 400 < 0.3
    versions.ended("new", failed=False, ttft_s=0.1, tpot_s=0.01)
    assert versions.told()["step"] == 1
    after = {u: versions.choose(u) for u in users}
    assert all(after[u] == "new" for u in users if before[u] == "new")
    versions.ended("new", failed=False, ttft_s=0.1, tpot_s=0.01)
    versions.ended("new", failed=False, ttft_s=0.1, tpot_s=0.01)
    assert versions.told()["phase"] == "promoted"
    assert {versions.choose(u) for u in users} == {"new"}


def test_answers_that_differ_roll_back_and_everybody_gets_the_old_version(tmp_path):
    rule = CanaryRule(least_requests=10**6)
    rollout = Rollout(Journal(tmp_path / "j"), rule, versions=("old", "new"), set_shares=lambda shares: None)
    versions = CanaryVersions(rollout, salt="s")
    phases = [versions.answered(agrees=i % 3 > 0) for i in range(200)]
    assert phases[-1] is Phase.ROLLED_BACK
    assert {versions.choose(f"user {i}") for i in range(100)} == {"old"}
    assert versions.told()["why"].startswith("worse in disagreement")


@pytest.mark.parametrize(
    ("text", "message"), [("", "no prompts"), ("{}\n", "Line 1"), ("x\n", "Line 1"), ('{"prompt": 3}', "Line 1")]
)
def test_odd_files_of_questions_are_refused_with_the_line(tmp_path, text, message):
    file = tmp_path / "gold.jsonl"
    file.write_text(text)
    with pytest.raises(InvalidSpec, match=message):
        prompts_of(file)


def test_questions_are_read(tmp_path):
    file = tmp_path / "gold.jsonl"
    file.write_text("".join(json.dumps({"prompt": p}) + "\n" for p in ("a", "b")))
    assert prompts_of(file) == ["a", "b"]


@pytest.mark.parametrize("wrong", [{"scenarios": ()}, {"scenarios": ("x",)}, {"rate_per_s": 0.0}])
def test_odd_wishes_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        RolloutSpec(model="m", **wrong)
