"""Figures of precision by layer, of vLLM's steps and of evaluations, on the shipped runs."""

import itertools
import re

import pytest

from workbench.catalog.paths import MEASURED
from workbench.estimate.mixed_precision import Solution
from workbench.experiments.evaluation_verdict import candidate_label, candidates_of, evaluation_verdict
from workbench.experiments.serving_speed import with_roofline
from workbench.experiments.speed_verdict import gains
from workbench.figures.evaluation import divergence, found_by_depth
from workbench.figures.mixed_precision import (
    MeasuredPlan,
    PlanCell,
    choose,
    damage_against_cost,
    damage_by_calibration,
    plan_heat_map,
)
from workbench.figures.serving_speed import gain_over_plain, styles_of, time_per_token
from workbench.store.runs import read_run_file

SPEED = read_run_file(MEASURED / "serving_speed_llama-3.1-8b-shape_h200.json")
CACHES = read_run_file(MEASURED / "evaluation_stdlib-9m_kv_epyc-2-cores.json")
CURVE = read_run_file(MEASURED / "plan_damage_stdlib-9m_calibration_epyc-2-cores.json")
NAMES = list(SPEED.spec["served"])
ROWS = [r for r in with_roofline(SPEED) if r["context_tokens"] == 1024]
CANDIDATES = candidates_of(CACHES)
LABELS = {r["folder"]: candidate_label(r["folder"]) for r in CANDIDATES}
PLANS = [
    Solution(plan={"g": f}, cost=c, damage=d) for f, c, d in (("w4", 4.0, 0.1), ("w8", 8.0, 0.001), ("bf16", 16.0, 0.0))
]
PLOT = damage_against_cost(
    PLANS,
    PLANS[1],
    uniform={"W4": PLANS[0]},
    measured=[MeasuredPlan(cost=8.0, kl=0.002, low=0.001, high=0.004, is_random=False)],
    axis="stored bits per weight",
    factor=1.0,
)
FIGURES = {
    "plans": PLOT,
    "calibration": damage_by_calibration(CURVE.results, plan_label="W4 everywhere"),
    "time": time_per_token(ROWS, context_tokens=1024, styles=styles_of(NAMES), best="mixed"),
    "gain": gain_over_plain(gains(SPEED, context_tokens=1024), labels={n: n for n in NAMES}, styles=styles_of(NAMES)),
    "divergence": divergence(CANDIDATES, labels=LABELS),
    "depth": found_by_depth(CANDIDATES, labels=LABELS, context_tokens=1024),
}


@pytest.mark.parametrize("fig", FIGURES.values(), ids=FIGURES)
def test_axes_are_named_and_provenance_is_marked(fig):
    assert re.search(r"bits|tokens|sequences|nat/token|%", fig.layout.xaxis.title.text)
    assert "●" in fig.layout.title.text
    assert "is better" in fig.layout.title.text
    assert fig.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_the_marker_of_the_chosen_plan_moves_and_nothing_else():
    def trace(name):
        return next(t for t in PLOT.data if t.name == name)

    line = tuple(trace("best plans").x)
    choose(PLOT, PLANS[0], factor=2.0)
    assert (trace("chosen plan").x[0], trace("chosen plan").y[0]) == (8.0, 0.1)
    assert tuple(trace("best plans").x) == line
    assert trace("verified plans").error_y.array[0] == pytest.approx(0.002)


def test_a_heat_map_has_a_cell_for_every_group_and_escapes_names():
    cells = [
        PlanCell(group=f"l.{i}.<qkv>", layer=i, role="qkv", format="W4", kl=10.0**-i, hint="<all>") for i in range(3)
    ]
    shown = plan_heat_map(cells, coloured_by="KL")
    assert shown.count("data-group=") == 3
    assert "<qkv>" not in shown
    shares = [float(s) for s in re.findall(r"rgba\(230,159,0,([\d.]+)\)", shown)]
    assert shares == sorted(shares, reverse=True)


def test_the_roofline_lies_below_every_measured_time():
    floor = next(t for t in FIGURES["time"].data if t.name == "roofline")
    mixed = next(t for t in FIGURES["time"].data if t.name == "mixed")
    assert all(f < m for f, m in zip(floor.y, mixed.y, strict=True))


def test_names_of_lines_do_not_cover_each_other():
    places = sorted(a.y for a in FIGURES["gain"].layout.annotations if a.text.strip() in NAMES)
    assert len(places) == len(NAMES) - 1
    assert min(b - a for a, b in itertools.pairwise(places)) > 0.015


def test_divergence_is_sorted_with_the_published_marks():
    points = FIGURES["divergence"].data[0]
    assert list(points.x) == sorted(points.x)
    assert {a.text for a in FIGURES["divergence"].layout.annotations} == {"8 bits", "5 bits", "3 bits"}


def test_the_verdict_names_what_loses_beyond_chance():
    answer = evaluation_verdict(CACHES)
    assert answer.best == "kv:int8-token"
    assert "659 times as far" in answer.headline
    assert "INT4 cache, scale per head loses answers beyond chance" in answer.objection
    assert candidate_label("checkpoints/stdlib-9m-gptq-w4a16-0e99c910") == "stdlib-9m-gptq-w4a16"
