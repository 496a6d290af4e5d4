"""A tuning run on a server at a URL: measured as it is, simulated otherwise, and refused a restart; and that a resumed run measures nothing twice."""

from dataclasses import replace
from statistics import mean

import pytest

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.runs import last_run
from workbench.measuring.envelope import measured
from workbench.questions.tuning import findings
from workbench.questions.tuning.measure.servers import Running
from workbench.questions.tuning.measure.simulation import limits_of, simulated, simulated_load
from workbench.questions.tuning.measure.space import space
from workbench.questions.tuning.rows import FittedLoad, SettingResult, TuneChoice, TuneTrial
from workbench.questions.tuning.spec import TuneSpec
from workbench.simulate.step_cost import AT_ONCE, LinearCost
from workbench.telemetry.devices import cpu_device

SPEC = TuneSpec(
    model=REFERENCE_MODEL_PLACE,
    url="http://127.0.0.1:1",
    rate_per_s=20,
    duration_s=2.0,
    budget_min=5,
    batched_tokens=(256, 2048),
    sequences=(4, 128),
    prefix_caching=("on",),
    device="cpu",
)


@pytest.fixture(scope="module")
def run_and_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuning")
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.004)) as mock:
        spec = replace(SPEC, url=mock.url)
        yield last_run(measured(spec, folder)), folder, spec


def test_the_default_is_measured_and_all_others_are_simulated(run_and_folder):
    run, _, _ = run_and_folder
    by_name = {r.name: r for r in run.rows(SettingResult)}
    assert len(by_name) == 4
    assert [r.name for r in by_name.values() if r.status == "measured"] == ["2048 tokens, 128 sequences"]
    assert all(r.simulated is not None for r in by_name.values())
    assert len(run.rows(FittedLoad)) == 4
    assert run.row(TuneChoice).name == "2048 tokens, 128 sequences"


def test_a_server_that_does_all_that_is_asked_is_not_worth_tuning(run_and_folder):
    run, _, spec = run_and_folder
    tuned = findings.tuned_under(run, slo_ttft_s=spec.slo_ttft_s, slo_tpot_s=spec.slo_tpot_s)
    answer = findings.verdict(tuned)
    assert answer.headline.startswith("Not worth tuning")
    assert answer.best == "2048 tokens, 128 sequences"
    assert "--max-num-seqs 128" in findings.launch_command(tuned)


def test_a_stricter_slo_counts_the_kept_requests_anew(run_and_folder):
    run, _, _ = run_and_folder
    loose = findings.tuned_under(run, slo_ttft_s=1.0, slo_tpot_s=0.05).default.score
    assert findings.tuned_under(run, slo_ttft_s=0.001, slo_tpot_s=0.05).default.score == 0
    assert loose == pytest.approx(mean(t.goodput_per_s for t in run.rows(TuneTrial)))


def test_a_second_call_in_the_folder_measures_nothing_again(run_and_folder):
    run, folder, spec = run_and_folder
    again = last_run(measured(replace(spec, url="http://127.0.0.1:1"), folder))
    assert again.rows(TuneTrial) == run.rows(TuneTrial)
    assert again.row(TuneChoice).best_measured == run.row(TuneChoice).best_measured


def test_a_server_that_cannot_be_restarted_says_so_in_one_sentence():
    tried = space(SPEC, cpu_device())
    with pytest.raises(NotAvailable, match="cannot be restarted with other flags") as caught:
        Running(SPEC, default=tried.default).served(tried.valid[1])
    assert "--restart" in caught.value.remedy


def test_a_restart_command_that_fails_says_what_it_said():
    spec = replace(SPEC, restart="echo no such unit >&2; exit 3 # {flags}")
    tried = space(spec, cpu_device())
    with pytest.raises(WorkbenchError, match="ended with code 3: no such unit"):
        Running(spec, default=tried.default).served(tried.valid[1])


def test_sessions_grow_and_find_their_earlier_turns_in_the_prefix_cache():
    spec = replace(SPEC, turns=3, rate_per_s=4.0, input_tokens=512, output_tokens=32)
    load, cost = simulated_load(spec, 0), LinearCost(fixed_s=0.01, sequence_s=0, prompt_token_s=1e-4, cached_token_s=0)
    both = [
        simulated(load, cost, limits_of(replace(s, prefix_caching=on), cache_tokens=100_000, front=AT_ONCE))
        for s in space(spec, cpu_device()).valid[:1]
        for on in (True, False)
    ]
    assert [len(t.due_s) for t in both] == [3 * len(load.arrivals)] * 2
    assert sum(both[0].ttft_s) < 0.8 * sum(both[1].ttft_s)


def test_a_simulated_closed_loop_sends_as_long_as_the_load_lasts():
    """Two users, steps of 10 ms and prompts of 0.1 s: a request of 10 tokens takes about 0.2 s, so that each user sends about 10 in 2 s."""
    spec = replace(SPEC, arrivals="closed", concurrency=2, input_tokens=100, output_tokens=10)
    load = simulated_load(spec, 0)
    cost = LinearCost(fixed_s=0.01, sequence_s=0, prompt_token_s=1e-3, cached_token_s=0)
    setting = space(spec, cpu_device()).default
    times = simulated(load, cost, limits_of(setting, cache_tokens=10_000, front=AT_ONCE))
    assert max(times.due_s) < 2.0 < max(a + b for a, b in zip(times.due_s, times.e2e_s, strict=True)) + 0.4
    assert 12 <= len(times.due_s) <= 22
