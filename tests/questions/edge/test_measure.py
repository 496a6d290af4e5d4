"""The edge experiment: what it promises of any machine, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable
from workbench.core.runs import Run
from workbench.measuring.envelope import measured
from workbench.measuring.interleaved import (
    NOTICEABLE,
    BatchTimes,
    Timed,
    interleaved_times,
    speed_verdict,
    speedup_over,
)
from workbench.questions.edge import measure
from workbench.questions.edge.measure.export import export_chosen
from workbench.questions.edge.measure.settings import best_setting
from workbench.questions.edge.rows import Distillation, Guarantee, RuntimeResult, Setting, VariantResult
from workbench.questions.edge.spec import EdgeSpec
from workbench.vision import encoder
from workbench.vision import variants as variants_library

pytestmark = pytest.mark.filterwarnings("ignore")
TECHNIQUES = ("fp32", "int8-static", "structured-half", "student", "student-int8", "cascade")


def last(items):
    for item in items:
        if isinstance(item, Run):
            return item
    raise AssertionError


@pytest.fixture(scope="module", autouse=True)
def short():
    """A quarter of the training, an encoder of one layer, and one setting of threads and batch size for the float network and the student."""
    settings = sys.modules[best_setting.__module__]  # the package has a function of this name
    with pytest.MonkeyPatch.context() as patch:
        for name, epochs in (("EPOCHS", 15), ("TUNING_EPOCHS", 4), ("STUDENT_EPOCHS", 16)):
            patch.setattr(variants_library, name, epochs)
        patch.setattr(encoder, "LAYERS", 1)
        patch.setattr(measure, "GRID", ("fp32", "student"))
        patch.setattr(settings, "thread_counts", lambda: [1])
        patch.setattr(settings, "GRID_BATCHES", (16,))
        patch.setattr(settings, "PHASE_S", 0.2)
        yield


@pytest.fixture(scope="module")
def edge_run(short, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    spec = EdgeSpec(techniques=TECHNIQUES, rounds=5, distillation_seeds=2)
    return last(measured(spec, folder)), folder


def variants(run):
    return {v.technique: v for v in run.rows(VariantResult)}


@pytest.mark.slow
def test_accuracy_and_size_are_as_documented(edge_run):
    by = variants(edge_run[0])
    assert set(by) == set(TECHNIQUES)
    assert by["fp32"].accuracy.fraction >= 0.985
    assert by["int8-static"].accuracy.mcnemar_p > 0.05
    assert by["int8-static"].n_bytes / by["fp32"].n_bytes == pytest.approx(0.25, abs=0.04)
    assert by["structured-half"].accuracy.fraction > by["structured-half"].accuracy_before_tuning_fraction
    assert all(v.peak_bytes > 0 for v in by.values())


@pytest.mark.slow
def test_verdicts_follow_from_their_intervals(edge_run):
    for variant in variants(edge_run[0]).values():
        assert (variant.technique == "fp32") == (variant.times[1].speedup is None)
        for speedup in (t.speedup for t in variant.times.values() if t.speedup):
            low, high = speedup.ratio_interval
            assert speedup.verdict == speed_verdict((low, high))
            assert low <= speedup.ratio <= high
    base = variants(edge_run[0])["student-int8"].base
    assert base.technique == "student"
    assert set(base.speedups) == {1, 256}


@pytest.mark.slow
def test_a_cascade_keeps_its_guarantee_on_held_out_data(edge_run):
    cascade = edge_run[0].row(Guarantee)
    assert cascade.technique == "cascade"
    assert cascade.held_out.lost_fraction <= cascade.threshold.limit_fraction
    assert cascade.held_out.exit_fraction >= 0.8
    gains = edge_run[0].rows(Distillation)
    assert all(d.gain_interval[0] <= d.gain_fraction <= d.gain_interval[1] for d in gains)


@pytest.mark.slow
def test_runtimes_are_measured_or_say_why_not(edge_run):
    by = {}
    for r in edge_run[0].rows(RuntimeResult):
        by.setdefault(r.runtime, r)
    assert by["ONNX Runtime"].state == by["PyTorch"].state == "measured"
    assert by["TensorRT"].state == "not run"
    assert all(r.measured or r.remedy for r in by.values())


@pytest.mark.slow
def test_the_choice_is_exported_and_checks_itself(edge_run, tmp_path):
    run, folder = edge_run
    export_chosen(run, folder, tmp_path / "out")
    made = {p.name for p in (tmp_path / "out").iterdir()}
    assert made == {"model.onnx", "settings.json", "measured.json", "expected.npz", "check.py"}
    done = subprocess.run([sys.executable, tmp_path / "out" / "check.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "100.0 % of 64 answers are the same" in done.stdout
    kept = json.loads((tmp_path / "out" / "measured.json").read_text())
    assert kept["run"] == run.id
    with pytest.raises(NotAvailable, match="gone"):
        export_chosen(run, tmp_path, tmp_path / "other")


def graph_of(edge_run):
    return edge_run[1] / "graphs" / "fp32.onnx"


@pytest.mark.slow
def test_a_graph_of_ones_own_with_data(edge_run, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((40, 1, 8, 8)), y=rng.integers(0, 10, 40))
    spec = EdgeSpec(
        model=str(graph_of(edge_run)),
        data=str(tmp_path / "d.npz"),
        techniques=("fp32", "int8-static"),
        batches=(1,),
        rounds=5,
        latency_ms=1e-6,
    )
    run = last(measured(spec, tmp_path / "job"))
    assert variants(run)["int8-static"].accuracy is not None
    assert all("latency" in s.breaks for s in run.rows(Setting))
    assert any("Loosen" in f.remedy for f in run.failures)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": np.zeros((4, 3, 8, 8))}, "shape"),
        ({"y": np.zeros(4)}, "no inputs"),
        ({"x": np.zeros((4, 1, 8, 8)), "y": np.zeros(3)}, "classes"),
    ],
)
@pytest.mark.slow
def test_data_that_does_not_fit_is_refused(edge_run, tmp_path, data, said):
    np.savez(tmp_path / "d.npz", **data)
    with pytest.raises(InvalidSpec, match=said):
        last(measured(EdgeSpec(model=str(graph_of(edge_run)), data=str(tmp_path / "d.npz")), tmp_path / "job"))


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    for place, said in ((tmp_path / "bad.onnx", "cannot be run"), (tmp_path / "none.onnx", "There is no graph")):
        with pytest.raises(NotAModel, match=said):
            last(measured(EdgeSpec(model=str(place)), tmp_path / "job"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"techniques": ("int8-static",)},
        {"techniques": ("fp32", "magic")},
        {"batches": ()},
        {"batches": (0,)},
        {"rounds": 3},
        {"power_w": -1.0},
        {"most_lost": 0.0},
    ],
)
def test_specs_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        EdgeSpec(**wrong)


def test_the_gate_asks_for_the_whole_interval():
    assert speed_verdict((1.2, 1.4)) == "faster"
    assert speed_verdict((1.0005, 1.007)) == "no difference shown"
    assert speed_verdict((0.99, 1.4)) == "no difference shown"
    assert speed_verdict((0.5, 0.6)) == "slower"
    assert NOTICEABLE > 1


def test_ratios_are_of_the_same_rounds():
    drifting = [1.0, 2.0, 3.0, 4.0, 5.0]
    slow, fast = (
        Timed(rounds_s=drifting, samples_s=drifting),
        Timed(rounds_s=[x / 2 for x in drifting], samples_s=drifting),
    )
    speedup = speedup_over(slow, fast)
    assert speedup.ratio == 2.0
    assert speedup.ratio_interval == (2.0, 2.0)


def test_every_round_times_every_variant_once():
    calls = []
    answers = {name: (lambda x, name=name: calls.append((name, len(x)))) for name in "ab"}
    timed = interleaved_times(answers, np.zeros((7, 1), np.float32), batch=10, rounds=5, seed=0)
    assert {len(t.rounds_s) for t in timed.values()} == {5}
    assert {n for _, n in calls} == {10}


def setting(inputs_per_s, *breaks):
    return Setting(
        technique="fp32",
        threads=1,
        batch=1,
        times=BatchTimes(p50_s=1.0, p99_s=1.0, n=1),
        inputs_per_s=inputs_per_s,
        peak_bytes=1,
        power_w=1.0,
        power_source="estimate",
        breaks=breaks,
    )


def test_the_fastest_within_limits_is_chosen():
    offered = [setting(10.0), setting(99.0, "memory"), setting(20.0)]
    assert best_setting(offered) == offered[2]
    assert best_setting(offered[1:2]) is None
