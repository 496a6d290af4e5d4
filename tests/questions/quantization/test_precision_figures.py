"""Figures of precision by layer, of vLLM's steps and of evaluations, on the shipped runs."""

import itertools
import re

import pytest

from workbench.calibrate.serving_speed.rows import with_roofline
from workbench.catalog.paths import MEASURED
from workbench.core.statistics import Interval
from workbench.estimate.mixed_precision import Option, Solution
from workbench.interface.html import HeatCell, heat_map
from workbench.interface.theme import styles_of
from workbench.questions.quantization.evaluation.figures import divergence, retrieved_by_depth
from workbench.questions.quantization.evaluation.findings import candidate_label, evaluation_verdict
from workbench.questions.quantization.evaluation.rows import candidates_of
from workbench.questions.quantization.plan_damage.figures import damage_by_calibration
from workbench.questions.quantization.plan_damage.rows import PlanDamage
from workbench.questions.quantization.sensitivity.figures import choose, damage_against_cost
from workbench.questions.quantization.sensitivity.findings import heat_rows
from workbench.questions.quantization.sensitivity.findings.plan_space import (
    BITS,
    PlanSpace,
    Unit,
    VerifiedPlan,
    plan_space,
)
from workbench.questions.quantization.serving_speed.figures import gain_over_plain, time_per_token
from workbench.questions.quantization.serving_speed.findings import gains
from workbench.store.runs import read_run_file

SPEED = read_run_file(MEASURED / "serving_speed_llama-3.1-8b-shape_h200.json")
CACHES = read_run_file(MEASURED / "evaluation_stdlib-9m_kv_epyc-2-cores.json")
CURVE = read_run_file(MEASURED / "plan_damage_stdlib-9m_calibration_epyc-2-cores.json")
NAMES = list(SPEED.spec["served"])
ROWS = [r for r in with_roofline(SPEED) if r.context_tokens == 1024]
CANDIDATES = candidates_of(CACHES)
LABELS = {r.folder: candidate_label(r.folder) for r in CANDIDATES}
PLANS = [
    Solution(plan={"g": f}, cost=c, damage=d) for f, c, d in (("w4", 4.0, 0.1), ("w8", 8.0, 0.001), ("bf16", 16.0, 0.0))
]
SPACE = PlanSpace(
    unit=Unit(name=BITS, axis="stored bits per weight", factor=1.0, suffix=" bits"),
    options={"g": [Option(format=s.plan["g"], damage=s.damage, cost=s.cost) for s in PLANS]},
    corners=PLANS,
    uniform={"w4a16": PLANS[0]},
    layers=[],
    plans=[VerifiedPlan(plan=PLANS[1].plan, kl=Interval(0.002, 0.001, 0.004))],
)
PLOT = damage_against_cost(SPACE, PLANS[1])
FIGURES = {
    "plans": PLOT,
    "calibration": damage_by_calibration(CURVE.rows(PlanDamage), plan_label="W4 everywhere"),
    "time": time_per_token(ROWS, context_tokens=1024, styles=styles_of(NAMES), best="mixed"),
    "gain": gain_over_plain(gains(SPEED, context_tokens=1024), labels={n: n for n in NAMES}, styles=styles_of(NAMES)),
    "divergence": divergence(CANDIDATES, labels=LABELS),
    "depth": retrieved_by_depth(CANDIDATES, labels=LABELS, context_tokens=1024),
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
    run = read_run_file(MEASURED / "sensitivity_stdlib-9m_epyc-2-cores.json")
    space = plan_space(run, formats=("w4a16",), cost=BITS, batch=1, products=[], checks=[])
    _, head, rows = heat_rows(space, space.corners[0])
    cells = [c for _, row in rows for c in row]
    assert (len(head) - 1) * len(rows) == len(cells) == 20
    damage = {r.group: r.kl_nat_per_token.value for r in space.layers if r.format == "w3a16"}
    assert [c.name for c in sorted(cells, key=lambda c: c.darkness)] == sorted(damage, key=damage.get)
    bad = HeatCell(name="l.0.<qkv>", text="<W4>", hint="'<all>", darkness=0.25)
    shown = heat_map("plan", "KL", ("layer", "<role>"), [("0", [bad, None])])
    assert shown.count("data-group=") == 1
    assert "rgba(230,159,0,0.25)" in shown
    assert not re.search(r"<(qkv|W4|all|role)>|''", shown)


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
    assert "diverges 659 times as much" in answer.headline
    assert "INT4 cache, scale per head answered significantly fewer questions than the original" in answer.objection
    assert candidate_label("checkpoints/stdlib-9m-gptq-w4a16-0e99c910") == "stdlib-9m-gptq-w4a16"
