"""A broken quantization goes back by itself between two real servers, and a good version takes over."""

import json
import random

import pytest

from workbench.app.canary_versions import CanaryVersions, prompts_of
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.engines.server import ServerRoom
from workbench.measuring.envelope import run
from workbench.questions.rollout import measure
from workbench.questions.rollout.rows import RolloutResult
from workbench.questions.rollout.spec import RolloutSpec
from workbench.release.assignment import Assigner, Assignment, Ending
from workbench.release.canary import Rollout
from workbench.release.journal import Journal, Phase
from workbench.release.rule import CanaryRule


class OnePerModel(ServerRoom):
    """Starts one server for each model, so that a version that is the same model is served by the server of the old one."""

    def __init__(self, home):
        super().__init__(home)
        self.started = {}

    def start(self, command, *, model, **others):
        if model not in self.started:
            self.started[model] = super().start(command, model=model, **others)
        return self.started[model]

    def stop(self, card):
        """Stop a gateway; models stay until the end."""
        if card.engine == "gateway":
            self.started.pop(card.model)
            super().stop(card)

    def end(self):
        for card in self.started.values():
            super().stop(card)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Fewer steps than one would use, and small requests, so that a rollout needs few."""
    spec = RolloutSpec(
        model=str(REFERENCE_MODEL),
        scenarios=("same", "broken"),
        steps=(0.5, 1.0),
        least_requests=20,
        rate_per_s=20.0,
        longest_s=60.0,
        input_tokens=8,
        output_tokens=2,
    )
    with pytest.MonkeyPatch.context() as monkeypatch:
        working = tmp_path_factory.mktemp("rollout")
        monkeypatch.chdir(working)
        rooms = []
        monkeypatch.setattr(measure, "ServerRoom", lambda home: rooms.append(OnePerModel(home)) or rooms[-1])
        monkeypatch.setattr(measure, "BASELINE_S", 2.0)
        try:
            made = run(spec)
        finally:
            for room in rooms:
                room.end()
        assert list(working.iterdir()) == []
        return made


@pytest.mark.slow
def test_a_broken_quantization_goes_back_because_its_answers_differ(made):
    row = next(r for r in made.rows(RolloutResult) if r.scenario == "broken")
    assert row.phase in {"rolled back", "running"} or row.answers.n < 30  # it may be promoted before enough is compared
    if row.phase is Phase.ROLLED_BACK:
        assert row.is_verified
    assert row.answers.n_differ > 0.1 * row.answers.n


@pytest.mark.slow
def test_the_same_model_answers_the_same(made):
    row = next(r for r in made.rows(RolloutResult) if r.scenario == "same")
    assert row.answers.n_differ <= 1
    assert row.evidence.disagreement < 400


def versions_of(tmp_path, **rule):
    rollout = Rollout(
        Journal(tmp_path / "j"), CanaryRule(**rule), versions=("old", "new"), set_shares=lambda shares: None
    )
    return CanaryVersions(Assigner(rollout, salt="s", rng=random.Random(1)))


def chosen(versions, users):
    return {u: versions.assign(u).version for u in users}


def test_users_keep_their_version_while_shares_grow_where_users_are_assigned(tmp_path):
    versions = versions_of(tmp_path, least_requests=1, steps=(0.2, 0.6, 1.0), assignment="user")
    users = [f"user {i}" for i in range(400)]
    before = chosen(versions, users)
    assert 0.1 < sum(v == "new" for v in before.values()) / 400 < 0.3
    for step in (1, 2):
        versions.record(Assignment(version="new", share=0.2), Ending(failed=False))
        assert versions.state().step == step
        after = chosen(versions, users)
        assert all(after[u] == "new" for u in users if before[u] == "new")
        before = after
    versions.record(Assignment(version="new", share=0.9), Ending(failed=False))
    assert versions.state().phase is Phase.PROMOTED
    assert set(chosen(versions, users).values()) == {"new"}


def test_one_tenant_without_users_gives_the_new_version_its_share(tmp_path):
    versions = versions_of(tmp_path, steps=(0.25, 1.0))
    n = sum(versions.assign(None).version == "new" for _ in range(2000))
    assert 0.2 < n / 2000 < 0.3


def test_answers_that_differ_roll_back_and_everybody_gets_the_old_version(tmp_path):
    versions = versions_of(tmp_path, least_requests=10**6)
    phases = [versions.record_answer(agrees=i % 3 > 0) for i in range(200)]
    assert phases[-1] is Phase.ROLLED_BACK
    assert set(chosen(versions, map(str, range(100))).values()) == {"old"}
    assert versions.state().reason.startswith("worse in disagreement")


def test_gold_questions_without_an_answer_roll_back_but_a_short_outage_does_not(tmp_path):
    versions = versions_of(tmp_path, least_requests=10**6)
    for _ in range(4):
        versions.record_answer(agrees=False, is_answered=False)
    assert versions.record_answer(agrees=True) is Phase.RUNNING
    phases = [versions.record_answer(agrees=False, is_answered=False) for _ in range(15)]
    assert phases[-1] is Phase.ROLLED_BACK


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
