"""What the verdict on a price claims, counted again from the same numbers by code of its own."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import NotAvailable
from workbench.core.statistics import Interval
from workbench.questions.cost.findings import Priced, cost_verdict, price_load, unit_rows
from workbench.questions.cost.spec import CostSpec


@pytest.fixture(scope="module")
def priced() -> Priced:
    return price_load(CostSpec(model="meta-llama/Meta-Llama-3.1-8B", device="h200-sxm"))


MONEY = st.integers(1, 900).map(lambda n: n / 100)
DRAWN = st.tuples(
    MONEY, MONEY, MONEY, st.lists(st.one_of(st.none(), st.integers(-50, 90)), min_size=5, max_size=5), st.booleans()
)


@given(DRAWN)
def test_every_claim_of_the_verdict_follows_from_the_numbers(priced, drawn):
    per_input, per_output, hourly, saved, is_own = drawn
    units = replace(
        priced.units,
        usd_per_million_input_tokens=per_input,
        usd_per_million_output_tokens=per_output,
        usd_per_request=1e-6
        * (per_input * priced.case.load.input_tokens + per_output * priced.case.load.output_tokens),
    )
    savings = [
        replace(s, saved_fraction=None if n is None else n / 100) for s, n in zip(priced.savings, saved, strict=True)
    ]
    share = Interval(0.97, 0.955, 0.99)
    made = replace(
        priced,
        units=units,
        savings=savings,
        usd_per_hour=hourly,
        attainment_fraction=share,
        plan=replace(priced.plan, is_calibrated=is_own),
    )
    answer = cost_verdict(made)
    shown = [float(x) for x in re.findall(r"([\d.e-]+) USD", answer.headline)]
    assert shown == pytest.approx([per_input, per_output, hourly], rel=0.01)
    most = max((n for n in saved if n is not None), default=0)
    if most > 0:
        name = next(s.technique for s, n in zip(savings, saved, strict=True) if n == most)
        assert f"he largest saving comes from {name}: {most} %" in answer.scope
    else:
        assert "o way to save that was tried saves anything" in answer.scope
    assert "onstants are of this device;" not in (answer.objection or "")
    assert is_own == ("onstants" not in (answer.objection or ""))


def test_less_than_all_day_is_counted_from_the_two_prices_that_are_shown(priced):
    rows = dict(unit_rows(priced))
    label = next(k for k in rows if "autoscaling" in k)
    said = int(re.search(r"\((\d+) % less than on demand all day\)", label)[1])
    assert said == round(100 * (1 - float(rows[label]) / float(rows["per hour, on demand"])))


def test_a_load_without_a_plan_names_the_nearest_one():
    with pytest.raises(NotAvailable) as refused:
        price_load(CostSpec(model="meta-llama/Meta-Llama-3.1-8B", device="h200-sxm", tpot_s=0.001))
    assert re.search(r"the nearest is \d+ × .*, where TPOT: one sequence alone takes", refused.value.cause)
