"""What a run says under its own SLO and under another one."""

from dataclasses import replace

import pytest
from support import invented_run

from workbench.catalog.paths import REFERENCE_MODEL_PLACE
from workbench.core.statistics import Interval
from workbench.engines.vllm_settings import VllmSetting
from workbench.questions.tuning import findings
from workbench.questions.tuning.figures import flag_contributions, front, pareto
from workbench.questions.tuning.findings import tables
from workbench.questions.tuning.findings.flags import contributions
from workbench.questions.tuning.findings.grid import grid_comparison
from workbench.questions.tuning.rows import RequestTimes, SettingResult, TuneChoice, TuneSamples, TuneTrial
from workbench.questions.tuning.spec import TuneSpec

SPEC = TuneSpec(model=REFERENCE_MODEL_PLACE, slo_ttft_s=0.5, slo_tpot_s=0.05, rate_per_s=10, duration_s=10)
DEFAULT = VllmSetting(max_num_batched_tokens=2048, max_num_seqs=128)
SMALL = replace(DEFAULT, max_num_batched_tokens=512)
FEW = replace(DEFAULT, max_num_seqs=8)


def times(ttft_s, tpot_s, n=100, late=0):
    """Requests ten a second, of which so many of each ten wait two seconds longer."""
    return RequestTimes(
        due_s=[i / 10 for i in range(n)],
        ttft_s=[ttft_s + 2 * (i % 10 < late) for i in range(n)],
        tpot_s=[tpot_s] * n,
        e2e_s=[ttft_s + 2 * (i % 10 < late) + 20 * tpot_s for i in range(n)],
        output_tokens=[21] * n,
    )


def result(setting, status, ttft_s, tpot_s, **rest):
    return SettingResult(
        name=setting.label,
        setting=setting,
        status=status,
        is_default=setting == DEFAULT,
        launch=" ".join(setting.flags),
        simulated=Interval(8.0, 7.0, 9.0),
        simulated_answered_per_s=10.0,
        ttft_p90_s=ttft_s,
        tpot_p90_s=tpot_s,
        n_loads=int(status == "measured"),
        **rest,
    )


def a_run(gain, *, default=None, stopped="the winner is certain", trials=()):
    """The default measured with 3 of 10 requests late, small steps with 1 of 10 late but a slower stream, few sequences simulated."""
    choice = TuneChoice(
        name=SMALL.label,
        default=DEFAULT.label,
        best_measured=SMALL.label,
        gain_fraction=gain,
        is_confirmed=True,
        n_settings=3,
        n_simulated=3,
        n_refused=0,
        n_measured=2,
        n_launches=2,
        simulation_s=1.0,
        measurement_s=60.0,
        stopped=stopped,
    )
    samples = TuneSamples(
        measured={
            DEFAULT.label: {"search 0": default or times(0.2, 0.02, late=3)},
            SMALL.label: {"search 0": times(0.2, 0.04, late=1)},
        },
        simulated={s.label: times(0.2, 0.02, late=2) for s in (DEFAULT, SMALL, FEW)},
    )
    rows = [
        result(DEFAULT, "measured", 2.2, 0.02),
        result(SMALL, "measured", 0.3, 0.04),
        result(FEW, "simulated", 3.0, 0.01),
    ]
    refused = SettingResult(name="x", setting=replace(DEFAULT, tensor_parallel_size=2), status="refused", reason="why")
    run = replace(invented_run(), kind="tuning", spec=SPEC.to_dict(), results=[*rows, refused, *trials, choice])
    return replace(run, samples=samples)


def tuned(run, ttft_s=0.5, tpot_s=0.05):
    return findings.tuned_under(run, slo_ttft_s=ttft_s, slo_tpot_s=tpot_s)


def test_a_setting_that_is_better_in_all_of_its_interval_is_recommended():
    found = tuned(a_run(Interval(0.29, 0.2, 0.4)))
    answer = findings.verdict(found)
    assert answer.headline == "512 tokens, 128 sequences: 29 % better than vLLM's defaults (20 % to 40 %)."
    assert answer.best == SMALL.label
    assert [round(j.score, 1) for j in found.settings] == [9.0, 7.0, 8.0]
    assert "--max-num-batched-tokens 512" in findings.launch_command(found)


def test_a_gain_of_many_times_is_shown_as_a_factor():
    answer = findings.verdict(tuned(a_run(Interval(4.0, 3.0, 5.0))))
    assert answer.headline.endswith("5.00 times vLLM's defaults (4.00 to 6.00).")
    assert (findings.shown_gain(4.0), findings.shown_gain(0.29), findings.shown_gain(None)) == ("5.00 ×", "+29 %", "–")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (Interval(0.01, -0.01, 0.02), "Not worth tuning: within 2 %"),
        (Interval(0.1, -0.05, 0.25), "No setting is shown to be better"),
        (None, "Not worth tuning"),
    ],
)
def test_a_gain_that_is_small_or_not_shown_leaves_the_default(gain, said):
    found = tuned(a_run(gain))
    assert findings.verdict(found).headline.startswith(said)
    assert found.chosen.result.is_default
    assert "--max-num-batched-tokens 2048" in findings.launch_command(found)


def test_another_slo_moves_the_choice():
    """With a TPOT of 30 ms small steps meet nothing, and with a TTFT of 3 s the late requests count too."""
    run = a_run(Interval(0.29, 0.2, 0.4))
    assert tuned(run, tpot_s=0.03).chosen.result.is_default
    assert tuned(run, ttft_s=3.0).chosen.result.is_default
    assert tuned(run, ttft_s=3.0).default.score == pytest.approx(10.0)
    assert "another SLO" in findings.verdict(tuned(run, tpot_s=0.03)).objection


def test_defaults_that_meet_the_slo_for_nobody_give_no_percentage():
    headline = findings.verdict(tuned(a_run(Interval(1.0, 0.5, 1.0), default=times(0.9, 0.02)))).headline
    assert "meet the SLO for no request" in headline


def test_a_flag_contributes_what_changes_when_it_alone_is_changed():
    found = contributions(tuned(a_run(Interval(0.29, 0.2, 0.4))))
    assert [(c.flag, c.value, round(c.change_fraction, 2), c.is_measured) for c in found] == [
        ("tokens of a step", "512", 0.0, True),
        ("tokens of a step", "2048", -0.22, True),
    ]
    fig = flag_contributions(found, objective_name="goodput")
    assert list(fig.data[0].y) == ["tokens of a step 512", "tokens of a step 2048"]


@pytest.mark.parametrize(("changed_live", "took"), [(True, "30.0 s"), (False, "2 min 0 s")])
def test_the_choice_is_compared_with_the_best_of_the_grids_finalists(changed_live, took):
    """Each of the three settings took 30 s to launch, unless the limits of a running server were changed."""

    def trial(setting, seed, score):
        return TuneTrial(
            name=setting.label,
            seed=seed,
            purpose="grid",
            score=score,
            goodput_per_s=score,
            attainment_fraction=0.5,
            n_requests=100,
            n_failed=0,
            at_s=0.0,
            seconds=10.0,
            changed_live=changed_live,
        )

    grid = [trial(DEFAULT, 0, 10.0), trial(SMALL, 0, 8.0), trial(FEW, 0, 9.0)]
    # The other seed of FEW was an easier one, which the choice did not have.
    trials = [*grid, trial(SMALL, 7, 8.1), trial(FEW, 7, 9.0), trial(FEW, 8, 20.0), trial(DEFAULT, 7, 4.0)]
    run = a_run(Interval(0.29, 0.2, 0.4), trials=trials)
    results = [replace(r, startup_s=30.0) if isinstance(r, SettingResult) else r for r in run.results]
    text = grid_comparison(replace(run, results=results))
    assert text.startswith(f"An exhaustive grid of 3 settings took {took};")
    assert "the tuner's choice has 80 % of the best score there" in text
    assert "Of the 3 that were measured again on fresh seeds 2048 tokens, 8 sequences has the highest score" in text
    assert "the tuner's choice 90 % of it" in text


def test_the_front_holds_what_nothing_beats_in_both_latencies():
    found = tuned(a_run(Interval(0.29, 0.2, 0.4)))
    measured = [j for j in found.settings if j.is_measured]
    assert [j.result.name for j in pareto(measured)] == [SMALL.label, DEFAULT.label]
    fig = front(found)
    assert {t.name for t in fig.data} == {"simulated", "measured", "Pareto front", "default", "chosen setting"}
    assert "ms" in fig.layout.xaxis.title.text


def test_refused_settings_keep_their_reason():
    assert tables.refused_rows(a_run(None)) == [("x", "why")]
