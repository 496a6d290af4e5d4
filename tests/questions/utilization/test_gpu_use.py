"""Where a GPU's time goes: made-up recordings with one loss each, what must always hold, and the shipped H100 runs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.paths import MEASURED
from workbench.core.errors import NotAvailable
from workbench.load.recording.rows import recording_of, span_of
from workbench.load.rows import KeptRequest, LoadSamples
from workbench.questions.utilization.findings import energy_by_unit, gpu_use, gpus_of, share_with_work
from workbench.questions.utilization.rows import EnergyUse
from workbench.store.runs import read_run_file
from workbench.telemetry.samples import Recording, Signal

COUNTERS = ("power_violation_s", "thermal_violation_s", "energy_j")


def made_of(seconds=10, **quantities):
    """A recording with one sample a second; constants, or lists."""
    times = np.arange(seconds + 1.0)
    signals, t, v = {}, {}, {}
    for name, value in quantities.items():
        full = name.replace("__", ".") if "__" in name else f"gpu0.{name}"
        kind = "counter" if full.split(".")[1] in COUNTERS else "gauge"
        signals[full] = Signal(name=full, unit="", label=name, kind=kind)
        t[full] = times
        v[full] = np.full(seconds + 1, float(value)) if np.isscalar(value) else np.array(value, float)
    return Recording(signals=signals, times_s=t, values=v)


def losses_of(**quantities):
    use = gpu_use(made_of(**quantities), "gpu0", 0.0, 10.0)
    return {x.cause: round(x.fraction, 6) for x in use.losses}, use


BUSY = {
    "utilisation_percent": 100,
    "sm_active_percent": 100,
    "tensor_active_percent": 100,
    "sm_clock_mhz": 2000,
    "engine__num_requests_running": 4,
    "engine__num_requests_waiting": 0,
}


@pytest.mark.parametrize(
    ("changes", "cause", "fraction"),
    [
        ({"utilisation_percent": 60}, "no kernel running", 0.4),
        ({"sm_active_percent": 70, "tensor_active_percent": 70}, "multiprocessors without work", 0.3),
        ({"tensor_active_percent": 20}, "no matrix products", 0.8),
        ({"sm_clock_mhz": [2000] + [1500] * 10}, "clock below the highest", 0.25),
        (
            {
                "engine__num_requests_running": [0] * 5 + [4] * 6,
                "utilisation_percent": [0] * 5 + [100] * 6,
            },
            "no requests",
            0.45,
        ),
    ],
)
def test_one_loss_is_named_with_its_size(changes, cause, fraction):
    found, use = losses_of(**(BUSY | changes))
    assert use.largest.cause == cause
    assert found[cause] == pytest.approx(fraction, abs=0.06)
    assert use.not_seen == []


def test_a_card_that_does_all_it_can_loses_nothing():
    found, use = losses_of(**BUSY)
    assert set(found.values()) == {0.0}
    assert use.achieved_fraction == 1.0


@given(
    st.fixed_dictionaries(
        {k: st.floats(0, 100) for k in ("utilisation_percent", "sm_active_percent", "tensor_active_percent")}
        | {"sm_clock_mhz": st.floats(200, 2000)}
    ),
    st.lists(st.integers(0, 3), min_size=11, max_size=11),
)
def test_shares_are_never_negative_and_add_up(quantities, running):
    _, use = losses_of(**quantities, engine__num_requests_running=running, engine__num_requests_waiting=0)
    assert all(x.fraction >= 0 for x in use.losses)
    assert sum(x.fraction for x in use.losses) + use.achieved_fraction == pytest.approx(1.0, abs=1e-6)


def test_an_older_card_is_split_as_far_as_it_can_be_seen():
    _, use = losses_of(utilisation_percent=80, sm_clock_mhz=2000)
    assert use.achieved == "a kernel was running"
    assert use.achieved_fraction == pytest.approx(0.8)
    assert len(use.not_seen) == 2
    assert "units worked" in use.not_seen[1]


def test_what_holds_clocks_down_is_named():
    _, use = losses_of(**(BUSY | {"sm_clock_mhz": 1500, "power_violation_s": np.arange(11) * 0.9}))
    assert "held down by the power limit 90 %" in use.losses[-1].evidence
    _, use = losses_of(**(BUSY | {"sm_clock_mhz": 1500, "clock_reasons": 0x20}))
    assert "thermal (software) in 100 % of the samples" in use.losses[-1].evidence


def test_a_span_without_samples_and_a_missing_gpu_are_refused():
    made = made_of(**BUSY)
    with pytest.raises(NotAvailable, match="gpu0 was not sampled between 50"):
        gpu_use(made, "gpu0", 50, 60)
    with pytest.raises(NotAvailable, match="Sampled are: gpu0"):
        gpu_use(made, "gpu7", 0, 10)
    assert share_with_work(made_of(utilisation_percent=1), 0, 10) is None


@pytest.mark.parametrize("share", ["80-percent", "95-percent"])
def test_an_h100_under_load_is_busy_and_held_down_by_power(share):
    run = read_run_file(MEASURED / f"load_llama-3.1-8b-shape_conv-{share}_h100.json")
    made = recording_of(run)
    assert gpus_of(made) == ["gpu0"]
    start, end = span_of(run, made)
    use = gpu_use(made, "gpu0", start, end)
    assert 0.3 < use.achieved_fraction < 0.6
    assert use.largest.cause == "no matrix products"
    assert "held down by the power limit" in use.losses[-1].evidence
    energy = energy_by_unit(run, made, start, end)
    assert 0.1 < energy.joules_per_output_token < 0.3
    assert energy.joules_per_good_request > energy.joules_per_request


def test_energy_is_that_of_the_counter_by_what_was_done_in_the_span():
    run = read_run_file(MEASURED / "load_llama-3.1-8b-shape_conv-80-percent_h100.json")
    made = recording_of(run)
    origin = run.sampled(LoadSamples).started_monotonic_s
    energy = energy_by_unit(run, made, origin + 10, origin + 20)
    ended = [q for q in run.sampled(LoadSamples).requests if 10 <= q.end_s <= 20]
    assert energy.joules == pytest.approx(made.increase("gpu0.energy_j", origin + 10, origin + 20))
    assert energy.joules_per_request == pytest.approx(energy.joules / len(ended))
    mean_power = made.mean("gpu0.power_w", origin + 10, origin + 20)
    assert energy.joules / 10 == pytest.approx(mean_power, rel=0.05)
    assert energy_by_unit(run, made_of(utilisation_percent=1), 0, 10) == EnergyUse()


def test_a_good_request_meets_both_parts_of_the_slo():
    slo = {"ttft_s": 0.5, "tpot_s": 0.03}
    request = KeptRequest(due_s=0.0, first_content_s=0.4, end_s=1.0, output_tokens=21)
    assert request.meets(**slo)
    assert not replace(request, first_content_s=0.6).meets(**slo)
    assert not replace(request, end_s=1.2).meets(**slo)
    assert not replace(request, first_content_s=None).meets(**slo)
    assert not replace(request, error="timed out").meets(**slo)
    assert replace(request, end_s=9.0, output_tokens=1).meets(**slo)
    assert request.meets(ttft_s=None, tpot_s=None)
