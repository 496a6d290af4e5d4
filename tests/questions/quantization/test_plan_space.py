"""Plans from the shipped sensitivities, in every unit; what the verdict says of them."""

import json

import pytest

from workbench.catalog.formats import group_named, recipe
from workbench.catalog.paths import MEASURED
from workbench.core.errors import InvalidSpec
from workbench.questions.quantization.sensitivity.findings import agreement, plan_verdict
from workbench.questions.quantization.sensitivity.findings.plan_ledger import ledger
from workbench.questions.quantization.sensitivity.findings.plan_space import (
    BITS,
    BYTES,
    TIME,
    plan_space,
    without_kernel,
)
from workbench.store.runs import read_run_file

EVERY = ("w3a16", "w4a16", "w5a16", "w6a16", "w8a16", "w8a8", "fp8")


@pytest.fixture(scope="module")
def run():
    return read_run_file(MEASURED / "sensitivity_stdlib-9m_epyc-2-cores.json")


@pytest.fixture(scope="module")
def products():
    return [read_run_file(MEASURED / f"gemm_{name}_h200.json") for name in ("llama-3.1-8b-shape", "stdlib-9m")]


def space_of(run, products, *, cost=BITS, formats=EVERY, batch=1):
    return plan_space(run, formats=formats, cost=cost, batch=batch, products=products, checks=[])


def test_bits_and_bytes_choose_the_same_plan(run, products):
    bits, size = space_of(run, products), space_of(run, products, cost=BYTES)
    chosen = bits.best(5.0)
    assert size.best(5.0).plan == chosen.plan
    n_weights = sum({r.group: r.n_weights for r in bits.layers}.values())
    assert size.unit.factor * chosen.cost == pytest.approx(chosen.cost * n_weights / 8e6)


def test_the_verified_plan_of_the_run_is_found_with_its_measurement(run, products):
    space = space_of(run, products)
    chosen = space.best(5.0)
    assert space.verified(chosen).kl.value == pytest.approx(chosen.damage, rel=0.15)
    answer = plan_verdict(space, chosen, missing=without_kernel(products), transferred=None)
    assert "verified: 0.00623" in answer.evidence
    assert "no kernel in vLLM 0.26.0 on NVIDIA H200" in answer.objection


def test_the_plan_loses_less_than_half_of_random_plans(run, products):
    space = space_of(run, products)
    random_kls = sorted(m.kl.value for m in space.measured() if m.is_random)
    assert len(random_kls) == 50
    assert 3 * space.verified(space.best(5.0)).kl.value < random_kls[25]


def test_where_time_is_paid_the_plan_uses_what_is_fast_there(run, products):
    cost = TIME + products[0].id
    small = space_of(run, products, cost=cost, formats=("w4a16", "w8a16", "w8a8", "fp8"), batch=1)
    assert small.uniform["bf16"].cost * small.unit.factor == pytest.approx(100)
    cheapest = small.corners[0].plan
    assert {f for g, f in cheapest.items() if g.endswith("gate_up")} == {"w4a16"}
    assert not {f for g, f in cheapest.items() if g.endswith("qkv")} & {"w4a16", "bf16"}
    large = space_of(run, products, cost=cost, formats=("w4a16",), batch=4096)
    assert [set(s.plan.values()) for s in large.corners] == [{"bf16"}]  # four bits only cost time there
    answer = plan_verdict(large, large.best(large.high), missing={}, transferred=None)
    assert "does not pay" in answer.evidence


def test_without_formats_everything_stays_as_it_is(run, products):
    space = space_of(run, products, formats=())
    assert set(space.best(1.0).plan.values()) == {"bf16"}
    answer = plan_verdict(space, space.best(1.0), missing={}, transferred=None)
    assert "nothing to choose from" in answer.evidence


def test_a_batch_that_was_not_timed_is_refused(run, products):
    with pytest.raises(InvalidSpec, match="batch 3"):
        space_of(run, products, cost=TIME + products[0].id, batch=3)


def test_the_recipe_says_what_the_plan_says(run, products):
    plan = space_of(run, products).best(5.0).plan
    made = json.loads(recipe(plan, [group_named(g) for g in plan]))
    (modifier,) = made["quantization_stage"]["quantization_modifiers"].values()
    bits = {t: g["weights"]["num_bits"] for g in modifier["config_groups"].values() for t in g["targets"]}
    for group, form in plan.items():
        assert {bits[m] for m in group_named(group).modules} == {int(form[1])}


def test_the_proxy_is_compared_with_what_was_measured(run, products):
    by_format = agreement(space_of(run, products).layers)
    fisher, weight_error, _ = by_format["w4a16"]
    assert fisher > 0.7
    assert weight_error < 0
    assert by_format["w8a8"][0] < fisher  # its damage comes from inputs, which the proxy leaves out


def test_formats_without_a_kernel_are_known_from_the_runs_that_tried(products):
    assert set(without_kernel(products)) == {"w3a16", "w5a16", "w6a16"}
    assert without_kernel([]) == {}


def test_a_ledger_says_memory_and_time_of_one_plan_at_once(run, products):
    book = ledger(run, products, batch=1)
    groups = list(space_of(run, products).options)
    four, plain = (dict.fromkeys(groups, f) for f in ("w4a16", "bf16"))
    assert book.stored_bits(plain) == pytest.approx(16)
    assert book.stored_bytes(four) / book.stored_bytes(plain) == pytest.approx(4.125 / 16)
    on_8b, on_9m = book.time_fractions(four)
    assert on_8b == pytest.approx(95.9 / 128.0, abs=0.02)  # 17.1 + 15.5 + 36.0 + 27.4 of 16.3 + 14.2 + 61.8 + 35.7 µs
    assert on_9m > 1  # launches, not reading
    assert book.time_fractions(dict.fromkeys(groups, "w5a16")) == [None, None]
    assert ledger(run, products, batch=100).timed[0].label.endswith("64 tokens")
