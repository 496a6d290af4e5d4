"""What a refusal of a plan claims, counted again; and what a launch command must cover."""

import random
import re
from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.catalog.models import catalog_models
from workbench.estimate.launch import serve_command
from workbench.estimate.search import Curve, Load, Plan, settled
from workbench.questions.parallelism.figures import cost_and_speed
from workbench.questions.parallelism.findings import plan_verdict
from workbench.questions.parallelism.findings.planned import Planned
from workbench.questions.parallelism.spec import PlanSpec

MODEL = next(iter(catalog_models().values()))


def plan(**changes):
    made = Plan(
        device_id="h200-sxm", device_name="H200", n_devices=1, precision="fp8", kernel="fp8", kv_bits=16, reason=None
    )
    return replace(made, **changes)


@given(
    st.lists(
        st.tuples(st.sampled_from(("TTFT", "TPOT", "memory", "kernel")), st.integers(101, 900)), min_size=1, max_size=8
    )
)
def test_a_refusal_names_the_nearest_plan_and_what_would_have_to_change(drawn):
    plans = [
        plan(n_devices=i + 1, reason=f"{kind}: plan {i}", excess=None if kind == "kernel" else e / 100)
        for i, (kind, e) in enumerate(drawn)
    ]
    answer = plan_verdict(
        Planned(spec=PlanSpec(model=MODEL.name), model=MODEL, offers=[], curves=[], plans=plans, best=[])
    )
    late = [(e, i) for i, (kind, e) in enumerate(drawn) if kind in {"TTFT", "TPOT"}]
    full = [(e, i) for i, (kind, e) in enumerate(drawn) if kind == "memory"]
    assert (answer.answer, answer.best, answer.objection) == ("no", None, None)
    if late or full:
        least = min(late or full)[0]
        named = int(re.search(r"plan (\d+)", answer.headline)[1])
        assert (least, named) in (late or full)
        assert f"{named + 1} × H200" in answer.headline
    if late:
        kind = drawn[min(late)[1]][0] if late.count(min(late)) == 1 else None
        assert f"{min(late)[0] / 100:.2f} times the SLO" in answer.evidence
        assert kind is None or any(f"--{k.lower()}-ms" in answer.evidence for k, e in drawn if e == min(late)[0])


@given(st.floats(0.01, 5), st.floats(0.001, 0.5), st.floats(0.01, 5), st.floats(0.001, 0.5))
def test_the_limit_that_is_named_is_the_one_that_is_exceeded_most(ttft, tpot, slo_ttft, slo_tpot):
    one = np.ones(1)
    curve = Curve(
        plan=plan(),
        usd_per_device_hour=1.0,
        batch=one,
        ttft_s=one * ttft,
        tpot_s=one * tpot,
        capacity_requests_per_s=one,
        memory_fraction=one / 2,
    )
    made = settled(curve, Load(ttft_s=slo_ttft, tpot_s=slo_tpot))
    worst = max(ttft / slo_ttft, tpot / slo_tpot)
    if worst <= 1:
        assert made.reason is None
    else:
        assert made.excess == pytest.approx(worst)
        assert made.reason.startswith("TTFT" if ttft / slo_ttft == worst else "TPOT")


@pytest.mark.parametrize(("prompt", "answer"), [(1024, 128), (200, 800)])
def test_the_served_length_covers_what_the_load_draws(prompt, answer):
    line = serve_command("model", plan(concurrency=8), Load(input_tokens=prompt, output_tokens=answer))
    limit = int(re.search(r"--max-model-len (\d+)", line)[1])
    rng, middle = random.Random(0), exp(-(0.8**2) / 2)
    lengths = []
    for _ in range(1000):  # the simulation's own drawing, written out again
        rng.gammavariate(1, 1)
        lengths.append(sum(round(rng.lognormvariate(log(max(1, mean * middle)), 0.8)) for mean in (prompt, answer)))
    assert max(lengths) <= limit
    assert max(lengths) > prompt + answer  # the sum of the means would not do
    most = serve_command(
        "model", plan(concurrency=8), Load(input_tokens=prompt, output_tokens=answer), most_tokens=2048
    )
    assert "--max-model-len 2048" in most


def test_points_that_lie_close_together_do_not_share_an_axis_from_zero():
    near = [plan(tpot_s=t / 1e3, usd_per_hour=u, n_replicas=1) for t, u in ((45, 1), (50, 9))]
    far = [plan(tpot_s=t / 1e3, usd_per_hour=u, n_replicas=1) for t, u in ((5, 1), (50, 9))]
    modes = [cost_and_speed(p, frontier=p, slo_tpot_s=0.05).layout.yaxis.rangemode for p in (near, far)]
    assert modes == ["normal", "tozero"]
