"""What the runs that ship say of replicas in reserve, in the ledger and beside the simulation."""

import pytest

from workbench.app.ledger import all_runs, ledger
from workbench.catalog.ledger import Outcome, key_of
from workbench.catalog.paths import MEASURED
from workbench.jobs.manager import JobManager
from workbench.questions.surge.standby.findings import for_the_simulation, measured_starts, times, verdict
from workbench.questions.surge.standby.rows import WARM, StandbySamples, StandbyState
from workbench.store.runs import read_run_file, runs_in_folder

RUNS = [r for r in runs_in_folder(MEASURED) if r.kind == "standby"]


@pytest.mark.parametrize("run", RUNS, ids=lambda r: f"{r.model} {r.environment.device_id}")
def test_a_loaded_replica_answers_sooner_than_one_that_is_started_and_every_state_has_a_row(run):
    states, said = times(run), verdict(run)
    assert all(states[s].most_s < states["cold-first"].least_s for s in WARM if s in states)
    assert {r.state for r in run.rows(StandbyState)} >= {"cold-first", *WARM}
    assert all((r.first_token_s is None) == (r.reason is not None) for r in run.rows(StandbyState))
    assert said.answer == ("no" if any(r.is_same_answer is False for r in states.values()) else "yes")
    assert "answers after" in said.headline
    assert set(run.sampled(StandbySamples).ttft_s) == set(states)


def test_two_busy_cores_start_sooner_with_compiled_code_and_cannot_sleep():
    run = read_run_file(MEASURED / "standby_stdlib-9m_epyc-2-cores.json")
    states = times(run)
    assert states["cold"].is_same_answer
    assert states["idle"].is_same_answer
    assert states["cold"].most_s < states["cold-first"].first_token_s
    assert "GPU only" in verdict(run).objection
    assert for_the_simulation(run).startswith("workbench scaling --start-s ")
    assert run.id in measured_starts(RUNS)
    assert "`workbench standby MODEL`" in measured_starts([])


def test_the_claim_of_pre_warmed_scaling_is_judged_by_the_slowest_waiting_state_and_on_a_gpu_where_one_was_measured(
    tmp_path,
):
    key = (6, "pre-warmed scaling", "response_time")
    entry = next(e for e in ledger(all_runs(JobManager(tmp_path)), 6) if key_of(e.claim) == key)
    (run,) = entry.judgement.runs
    assert run.environment.device_id != "cpu" or all(r.environment.device_id == "cpu" for r in RUNS)
    states = times(run)
    assert entry.judgement.value == max(
        states[s].first_token_s for s in WARM if s in states and states[s].is_same_answer
    )
    assert entry.judgement.outcome is Outcome.CONFIRMED
