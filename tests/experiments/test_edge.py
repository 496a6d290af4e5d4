"""The edge and fusion experiments: what they promise of any machine, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from workbench.core.edge import EdgeSpec
from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable
from workbench.core.fusion import FusionSpec
from workbench.core.runs import Run
from workbench.experiments import edge, fusion
from workbench.experiments.edge_export import export_chosen
from workbench.experiments.edge_settings import chosen
from workbench.experiments.edge_timing import NOTICEABLE, Timed, compared, in_turns, verdict

pytestmark = pytest.mark.filterwarnings("ignore")
TECHNIQUES = ("fp32", "int8-static", "unstructured-95", "structured-half", "student", "student-int8", "cascade")


def last(items):
    for item in items:
        if isinstance(item, Run):
            return item
    raise AssertionError


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    spec = EdgeSpec(techniques=TECHNIQUES, rounds=7, distillation_seeds=2)
    return last(edge.measure(spec, folder)), folder


def rows(run, part):
    return {r.get("technique", i): r for i, r in enumerate(run.results) if r["part"] == part}


@pytest.mark.slow
def test_the_promises_about_accuracy_and_size(measured):
    made = rows(measured[0], "variant")
    assert set(made) == set(TECHNIQUES)
    assert made["fp32"]["accuracy"] >= 0.985
    assert made["int8-static"]["mcnemar_p"] > 0.05
    assert made["int8-static"]["n_bytes"] / made["fp32"]["n_bytes"] == pytest.approx(0.25, abs=0.04)
    assert made["unstructured-95"]["n_bytes"] == made["fp32"]["n_bytes"]
    assert made["unstructured-95"]["gzip_bytes"] < 0.3 * made["fp32"]["gzip_bytes"]
    assert made["structured-half"]["accuracy"] > made["structured-half"]["accuracy_before_tuning"]
    assert all(r["peak_bytes"] > 0 for r in made.values())


@pytest.mark.slow
def test_verdicts_follow_from_their_intervals(measured):
    for row in rows(measured[0], "variant").values():
        for t in row["times"].values():
            if "ratio" in t:
                low, high = t["ratio_interval"]
                assert t["verdict"] == verdict((low, high))
                assert low <= t["ratio"] <= high
    assert {t["base"] for t in rows(measured[0], "variant")["student-int8"]["times"].values()} == {"student"}


@pytest.mark.slow
def test_a_cascade_keeps_its_guarantee_on_held_out_data(measured):
    found = rows(measured[0], "guarantee")["cascade"]
    assert found["held_out_lost_fraction"] <= found["limit_fraction"]
    assert found["held_out_exit_fraction"] >= 0.8
    gains = [r for r in measured[0].results if r["part"] == "distillation"]
    assert all(r["gain_interval"][0] <= r["gain"] <= r["gain_interval"][1] for r in gains)


@pytest.mark.slow
def test_runtimes_are_measured_or_say_why_not(measured):
    by = {}
    for r in measured[0].results:
        if r["part"] == "runtime":
            by.setdefault(r["runtime"], r)
    assert by["ONNX Runtime"]["state"] == by["PyTorch"]["state"] == "measured"
    assert by["TensorRT"]["state"] == "not run"
    assert all(r["state"] == "measured" or r["remedy"] for r in by.values())


@pytest.mark.slow
def test_the_choice_is_exported_and_checks_itself(measured, tmp_path):
    run, folder = measured
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


def graph_of(measured):
    return measured[1] / "graphs" / "fp32.onnx"


@pytest.mark.slow
def test_a_graph_of_ones_own_with_data(measured, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((40, 1, 8, 8)), y=rng.integers(0, 10, 40))
    spec = EdgeSpec(
        model=str(graph_of(measured)),
        data=str(tmp_path / "d.npz"),
        techniques=("fp32", "int8-static"),
        batches=(1,),
        rounds=5,
        latency_ms=1e-6,
    )
    run = last(edge.measure(spec, tmp_path / "job"))
    assert rows(run, "variant")["int8-static"]["accuracy"] is not None
    assert all("latency" in r["breaks"] for r in run.results if r["part"] == "setting")
    assert any("Loosen" in f["remedy"] for f in run.failures)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"x": np.zeros((4, 3, 8, 8))}, "shape"),
        ({"y": np.zeros(4)}, "no inputs"),
        ({"x": np.zeros((4, 1, 8, 8)), "y": np.zeros(3)}, "classes"),
    ],
)
@pytest.mark.slow
def test_data_that_does_not_fit_is_refused(measured, tmp_path, data, said):
    np.savez(tmp_path / "d.npz", **data)
    with pytest.raises(InvalidSpec, match=said):
        last(edge.measure(EdgeSpec(model=str(graph_of(measured)), data=str(tmp_path / "d.npz")), tmp_path / "job"))


def test_what_is_no_graph_is_refused(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    for place, said in ((tmp_path / "bad.onnx", "cannot be run"), (tmp_path / "none.onnx", "There is no graph")):
        with pytest.raises(NotAModel, match=said):
            last(edge.measure(EdgeSpec(model=str(place)), tmp_path / "job"))


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
    assert verdict((1.2, 1.4)) == "faster"
    assert verdict((1.0005, 1.007)) == "no difference shown"
    assert verdict((0.99, 1.4)) == "no difference shown"
    assert verdict((0.5, 0.6)) == "slower"
    assert NOTICEABLE > 1


def test_ratios_are_of_the_same_rounds():
    drifting = [1.0, 2.0, 3.0, 4.0, 5.0]
    slow, fast = (
        Timed(rounds_s=drifting, samples_s=drifting),
        Timed(rounds_s=[x / 2 for x in drifting], samples_s=drifting),
    )
    found = compared(slow, fast, seed=0)
    assert found["ratio"] == 2.0
    assert found["ratio_interval"] == [2.0, 2.0]


def test_turns_meet_every_variant_once_a_round():
    calls = []
    answers = {name: (lambda x, name=name: calls.append((name, len(x)))) for name in "ab"}
    timed = None
    for item in in_turns(answers, np.zeros((7, 1), np.float32), batch=10, rounds=5, seed=0):
        timed = item
    assert {len(t.rounds_s) for t in timed.values()} == {5}
    assert {n for _, n in calls} == {10}


def test_the_fastest_within_limits_is_chosen():
    offered = [
        {"inputs_per_s": 10.0, "breaks": []},
        {"inputs_per_s": 99.0, "breaks": ["memory"]},
        {"inputs_per_s": 20.0, "breaks": []},
    ]
    assert chosen(offered)["inputs_per_s"] == 20.0
    assert chosen(offered[1:2]) is None


@pytest.mark.slow
def test_dropped_modalities_halve_the_loss(tmp_path):
    run = last(fusion.measure(FusionSpec(captions_each=2, rounds=5), tmp_path))
    drops = {r["fusion"]: r for r in run.results if r["part"] == "drop"}
    for kind in ("early", "mid"):
        assert drops[kind]["ratio"] <= 0.5
        assert drops[kind]["ratio_interval"][0] < drops[kind]["ratio"] < drops[kind]["ratio_interval"][1]
    routing = next(r for r in run.results if r["part"] == "routing")
    assert routing["held_out_lost_fraction"] <= routing["limit_fraction"]
    assert routing["held_out_skipped_fraction"] > 0.05
    towers = {r["what"]: r for r in run.results if r["part"] == "precision"}
    assert towers["both in INT8"]["n_bytes"] < towers["both float32"]["n_bytes"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fusions": ("sideways",)},
        {"routed": "late", "fusions": ("mid",)},
        {"missing": (0.0, 1.0)},
        {"missing": (0.0, 0.5, 2.0)},
    ],
)
def test_fusions_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidSpec):
        FusionSpec(**wrong)
