"""Served techniques: what each pair of launches differs in, the steady part of a load, servers that fail, verdicts by their intervals."""

import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.ledger import Evidence, Outcome, judged
from workbench.catalog.paths import MEASURED
from workbench.catalog.tables import claims
from workbench.core.devices import Device
from workbench.core.errors import InvalidSpec
from workbench.core.runs import utc_now
from workbench.engines.hosted import Hosted
from workbench.engines.server import ServerFailed
from workbench.load.rows import KeptRequest, LoadSamples
from workbench.measuring.envelope import Record
from workbench.questions.utilization.claims import JUDGES
from workbench.questions.utilization.served import measure as measuring
from workbench.questions.utilization.served.findings import technique_rows, verdict
from workbench.questions.utilization.served.measure import Findings, groups_that_fit, server_flags, steady_part
from workbench.questions.utilization.served.rows import NotServed, SampledLoad, ServedGain, ServedTechniquesSamples
from workbench.questions.utilization.served.spec import LAUNCHES, SIDES, TECHNIQUES, ServedTechniquesSpec, launches_of
from workbench.store.runs import read_run_file
from workbench.telemetry.samples import SampledSignal, SampledSignals

GPU = Device(kind="cuda", name="NVIDIA H200", memory_bytes=150 * 10**9, free_bytes=149 * 10**9, catalog_id="h200-sxm")
SHAPE = "data/models/llama-3.1-8b-shape"
LOAD = read_run_file(MEASURED / "load_llama-3.1-8b-shape_conv-80-percent_h100.json")


def compilation(launch):
    flag = next(f for f in LAUNCHES[launch].flags if f.startswith("--compilation-config="))
    return json.loads(flag.partition("=")[2])


def others(launch):
    return [f for f in LAUNCHES[launch].flags if not f.startswith("--compilation-config=")]


def test_the_sides_of_a_technique_differ_in_nothing_else():
    without, with_it = SIDES["async"]
    assert compilation(without) == compilation(with_it)
    assert (others(without), others(with_it)) == (["--no-async-scheduling"], ["--async-scheduling"])
    without, with_it = SIDES["fusion"]
    assert compilation(without)["cudagraph_mode"] == compilation(with_it)["cudagraph_mode"] == "FULL_DECODE_ONLY"
    assert (compilation(without)["mode"], compilation(with_it)["mode"]) == (0, 3)
    assert compilation(without)["custom_ops"] == ["none"]
    (norms,) = set(others(without)) - set(others(with_it))
    assert json.loads(norms.removeprefix("--ir-op-priority=")) == {
        "rms_norm": ["native"],
        "fused_add_rms_norm": ["native"],
    }
    without, with_it = SIDES["pool"]
    assert LAUNCHES[without].flags == LAUNCHES[with_it].flags
    assert "--enforce-eager" in LAUNCHES[with_it].flags
    assert LAUNCHES[without].variables == {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    assert LAUNCHES[with_it].variables == {}


def test_a_launch_that_two_techniques_share_runs_once_and_the_readers_flags_count():
    assert len(launches_of(tuple(TECHNIQUES))) == len(set(launches_of(tuple(TECHNIQUES)))) == 5
    spec = ServedTechniquesSpec(model=SHAPE, flags=("--max-num-seqs=7",))
    flags = server_flags(spec, "default", device="cuda")
    assert f"--kv-cache-memory-bytes={3 * 2**30}" in flags
    assert flags[-1] == "--max-num-seqs=7"
    assert not any("memory" in flag for flag in server_flags(spec, "default", device="cpu"))


def test_servers_run_beside_each_other_where_all_of_them_fit():
    spec = ServedTechniquesSpec(model=SHAPE)
    assert groups_that_fit(spec, list(TECHNIQUES), GPU) == [["async", "fusion", "pool"]]
    small = replace(GPU, free_bytes=80 * 10**9)  # three servers of 24 GB, not five
    assert groups_that_fit(spec, list(TECHNIQUES), small) == [["async"], ["fusion"], ["pool"]]
    assert groups_that_fit(spec, [], small) == []


def sampled(name, values, hz=10.0, began=100.0):
    at = [began + i / hz for i in range(len(values))]
    return SampledSignal(name=name, unit="%", label=name, t=at, v=list(values))


def load_run(signals, requests):
    samples = LoadSamples(
        requests=requests, started_monotonic_s=100.0, telemetry=SampledSignals(signals=signals) if signals else None
    )
    return replace(LOAD, samples=samples)


def request(first_s, gap_s, n, *, error=None):
    return KeptRequest(
        due_s=0.0,
        sent_s=0.0,
        first_content_s=first_s,
        gaps_us=(round(gap_s * 1e6),) * (n - 1),
        output_tokens=n,
        end_s=first_s + gap_s * (n - 1),
        error=error,
    )


def test_the_first_second_is_left_out_and_answers_that_the_end_cuts_off_count():
    busy, idle = [0.0] * 10 + [90.0] * 51, [3.0] * 61
    run = load_run(
        [
            sampled("gpu0.utilisation_percent", idle),
            sampled("gpu1.utilisation_percent", busy),
            sampled("gpu1.tensor_active_percent", [20.0] * 61),
        ],
        [request(0.5, 0.1, 60, error="cancelled"), request(0.5, 0.1, 60)],
    )
    part = steady_part(run, start_s=1.0, end_s=6.0)
    assert part.utilization_percent == (90.0,) * 5
    assert part.tensor_active_percent == (20.0,) * 5
    assert part.output_tokens_per_s == pytest.approx(2 * 51 / 5)
    assert part.tpot_s == pytest.approx(0.1)
    assert part.n_failed == 0


def test_without_a_gpu_there_are_tokens_and_no_utilization():
    part = steady_part(load_run([], [request(0.5, 0.1, 60)]), start_s=1.0, end_s=6.0)
    assert (part.utilization_percent, part.tensor_active_percent) == ((), ())
    assert part.output_tokens_per_s > 0


@pytest.mark.slow
def test_a_load_whose_answers_outlast_it_is_cut_and_counted(tmp_path):
    spec = ServedTechniquesSpec(model="data/models/stdlib-9m", concurrency=2, duration_s=3.0, output_tokens=4000)
    with MockProcess(MockSettings(model="model", ttft_s=0.02, itl_s=0.02)) as mock:
        part = measuring.sampled_load(spec, mock.url, 0, tmp_path)
    assert part.output_tokens_per_s > 0
    assert part.tpot_s > 0
    assert part.n_failed == 0


def drawn_load(rate, used, tensor=10.0):
    return SampledLoad(
        utilization_percent=(used - 1, used, used + 1, used, used),
        tensor_active_percent=(tensor,) * 5,
        output_tokens_per_s=rate,
        tpot_s=0.01,
        n_failed=0,
    )


@pytest.fixture
def stand_in(monkeypatch):
    """Servers that are none, by what their launches do: a load for each round, or an error at the start or in a load."""

    def use(behaviour):
        at_work = set()

        @contextmanager
        def hosted(engine, model, *, folder, device, extra, variables, ending):
            name = folder.name
            if behaviour[name] == "no start":
                raise ServerFailed(
                    f"vllm ended with code 1 while starting: {name} is out of memory", remedy="See its log."
                )
            at_work.add(threading.current_thread())
            yield Hosted(url=name, version="vLLM 0.26.0", startup_s=60.0)

        def sampled_load(spec, url, number, folder):
            assert all(thread.is_alive() for thread in at_work)
            if behaviour[url] == "dies":
                raise ServerFailed("The server is gone.", remedy="See its log.")
            return drawn_load(*behaviour[url])

        monkeypatch.setattr(measuring, "chosen_device", lambda choice: GPU)
        monkeypatch.setattr(measuring, "hosted", hosted)
        monkeypatch.setattr(measuring, "warm_up", lambda spec, url: None)
        monkeypatch.setattr(measuring, "sampled_load", sampled_load)

    return use


def measured(folder, **asked):
    record = Record(folder)
    spec = ServedTechniquesSpec(model=SHAPE, device="cuda", **asked)
    steps = [item.step for item in measuring.measure(spec, record)]
    made = replace(
        LOAD,
        kind=spec.kind,
        spec=spec.to_dict(),
        results=record.rows,
        samples=record.samples,
        failures=record.failures,
        environment=replace(LOAD.environment, other_load_fraction=None),
        finished_at=utc_now(),
    )
    return made, steps


ALL = {
    "default": (3000, 97),
    "synchronous": (2800, 90),
    "unfused": (2000, 97),
    "eager": (1500, 70),
    "uncached": (300, 40),
}


@pytest.mark.parametrize("failure", ["no start", "dies"])
def test_a_side_that_fails_leaves_the_other_techniques_measured(tmp_path, stand_in, failure):
    stand_in(ALL | {"uncached": failure})
    run, _ = measured(tmp_path)
    assert [r.technique for r in run.rows(ServedGain)] == ["async", "fusion"]
    failed = run.row(NotServed)
    assert (failed.technique, failed.status) == ("pool", "failed")
    assert failed.reason.startswith("uncached: ")
    assert "a server failed for memory pool" in verdict(run).objection


def test_a_failure_of_what_two_techniques_share_is_that_of_both(tmp_path, stand_in):
    stand_in(ALL | {"default": "no start"})
    run, _ = measured(tmp_path)
    assert [r.technique for r in run.rows(ServedGain)] == ["pool"]
    assert [r.technique for r in run.rows(NotServed)] == ["async", "fusion"]


def test_every_server_gets_each_round_once_in_an_order_that_changes(tmp_path, stand_in):
    stand_in(ALL)
    run, steps = measured(tmp_path)
    rounds = [[s.partition(": ")[2] for s in steps if s.startswith(f"round {n}:")] for n in (1, 2, 3)]
    assert all(sorted(r) == sorted(ALL) for r in rounds)
    assert len({tuple(r) for r in rounds}) > 1
    loads = run.sampled(ServedTechniquesSamples).loads
    assert {name: len(own) for name, own in loads.items()} == dict.fromkeys(ALL, 3)
    again, steps = measured(tmp_path)
    assert steps == []
    assert again.results == run.results


def test_on_a_processor_the_techniques_of_gpus_are_not_available(tmp_path, stand_in, monkeypatch):
    stand_in(ALL)
    monkeypatch.setattr(
        measuring,
        "chosen_device",
        lambda choice: Device(kind="cpu", name="EPYC", memory_bytes=64 * 2**30, free_bytes=64 * 2**30),
    )
    run, _ = measured(tmp_path)
    assert [r.technique for r in run.rows(ServedGain)] == ["fusion"]
    assert {r.technique: r.status for r in run.rows(NotServed)} == {"async": "not available", "pool": "not available"}


def gain_of(name, *, used, without, ratio):
    """The row of a technique whose loads are drawn."""
    found = Findings()
    for launch, percent, rate in zip(SIDES[name], (without, used), (1000, 1000 * ratio), strict=True):
        found.loads[launch] = [drawn_load(rate * (1 + k / 1000), percent) for k in range(3)]
    return measuring.technique_row(name, found)


drawn = st.tuples(st.integers(1, 99), st.integers(1, 99), st.sampled_from([0.5, 0.9, 1.0, 1.1, 3.0]))


@given(st.lists(drawn, min_size=3, max_size=3))
def test_every_claim_of_the_verdict_follows_from_the_rows(tmp_path_factory, numbers):
    rows = [gain_of(name, used=a, without=b, ratio=ratio) for name, (a, b, ratio) in zip(SIDES, numbers, strict=True)]
    run = replace(LOAD, kind="served_techniques", spec=ServedTechniquesSpec(model=SHAPE).to_dict(), results=rows)
    said, most = verdict(run), max(a - b for a, b, _ in numbers)
    raises = [r.technique for r in rows if r.utilization_gain.low > 0]
    assert (said.answer == "yes") == bool(raises)
    if raises:
        assert said.best in raises
        best = next(n for name, n in zip(SIDES, numbers, strict=True) if name == said.best)
        assert best[0] - best[1] == most
    else:
        assert said.best is None
        assert "No technique is shown to raise the utilization" in said.headline
    for (a, b, ratio), row in zip(numbers, rows, strict=True):
        assert row.with_it.utilization_fraction.value == pytest.approx(a / 100, abs=0.001)
        assert row.without.utilization_fraction.value == pytest.approx(b / 100, abs=0.001)
        assert row.throughput_ratio.value == pytest.approx(ratio)
    assert "any kernel ran" in said.scope
    assert len(technique_rows(run)) == 3


CLAIMED = {"async": "asynchronous inference", "fusion": "operator fusion", "pool": "memory pool"}


def judgement(name, run):
    claim = next(c for c in claims() if (c.question, c.technique, c.metric) == (4, CLAIMED[name], "gpu_utilization"))
    (entry,) = judged([claim], JUDGES, Evidence(runs=[run] if run else []))
    return claim, entry.judgement


@given(st.sampled_from(list(SIDES)), drawn)
def test_the_ledger_compares_the_utilization_with_the_technique(name, numbers):
    used, without, ratio = numbers
    row = gain_of(name, used=used, without=without, ratio=ratio)
    run = replace(LOAD, kind="served_techniques", spec=ServedTechniquesSpec(model=SHAPE).to_dict(), results=[row])
    claim, found = judgement(name, run)
    assert found.value == pytest.approx(used, abs=0.1)
    assert found.interval == pytest.approx(
        (100 * row.with_it.utilization_fraction.low, 100 * row.with_it.utilization_fraction.high)
    )
    assert found.runs == (run,)
    is_raised = row.utilization_gain.low > 0
    is_in_range = found.interval[0] <= claim.high and found.interval[1] >= claim.low
    assert (found.outcome is Outcome.CONFIRMED) == (is_raised and is_in_range)
    assert is_raised or found.outcome is Outcome.NO_GAIN
    assert f"{without:g}" in found.how
    assert "any kernel ran" in found.how


def test_the_ledger_names_the_command_where_no_gpu_was_sampled():
    row = gain_of("async", used=97, without=90, ratio=1.1)
    unsampled = replace(row, with_it=replace(row.with_it, utilization_fraction=None), utilization_gain=None)
    on_cpu = replace(LOAD.environment, device_id="cpu")
    spec = ServedTechniquesSpec(model=SHAPE).to_dict()
    for run in (
        None,
        replace(LOAD, kind="served_techniques", spec=spec, results=[unsampled]),
        replace(LOAD, kind="served_techniques", spec=spec, results=[row], environment=on_cpu),
    ):
        _, found = judgement("async", run)
        assert found.outcome is Outcome.NOT_TESTED
        assert found.command == "workbench served-techniques MODEL --device cuda"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"techniques": ("magic",)}, "Unknown techniques: magic"),
        ({"rounds": 1}, "1 rounds"),
        ({"duration_s": 1.0}, "of 1 s"),
        ({"flags": ("load-format",)}, "is no flag"),
        ({"concurrency": 0}, "concurrency is 0"),
    ],
)
def test_invalid_specs_are_refused(asked, said):
    with pytest.raises(InvalidSpec, match=said):
        ServedTechniquesSpec(**asked)
