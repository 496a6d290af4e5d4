"""What the verdict on a service claims, counted again from the same evaluations by code of its own."""

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workbench.alerts.defaults import vllm_rules
from workbench.questions.monitoring.findings import verdict, window_of
from workbench.questions.monitoring.rows import Evaluation

RULES = vllm_rules()
NAMES = [r.name for r in RULES]


@st.composite
def watches(draw):
    made = []
    for i in range(draw(st.integers(1, 5))):
        values = draw(st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)))
        firing = draw(st.lists(st.sampled_from(sorted(values)), unique=True)) if values else []
        made.append(Evaluation(at_s=20.0 * i, firing=firing, pending=[], values=values))
    if draw(st.booleans()):
        made[-1] = replace(made[-1], problem="no page", is_up=draw(st.booleans()))
    return made


@given(watches())
def test_every_claim_of_the_verdict_follows_from_the_evaluations(watch):
    answer, last = verdict(watch, RULES), watch[-1]
    seen = {n for e in watch for n in e.values}
    fired = {n for e in watch for n in e.firing}
    if last.problem:
        assert answer.answer == "open"
        assert "no page" in answer.headline
        assert "is healthy" not in answer.headline or "not known" in answer.headline
    elif last.firing:
        assert answer.answer == "no"
        assert "not healthy" in answer.headline
        assert all(f"({n})" in answer.headline for n in last.firing)
    elif not seen:
        assert answer.answer == "open"
        assert "not known" in answer.headline
    else:
        assert answer.answer == "yes"
        assert ("none of" in answer.headline) == (not fired)
        silent = [n for n in NAMES if n not in seen]
        said = re.search(r"o value for (.*) \(no data", answer.objection or "")
        assert (said[1].split(", ") if said else []) == silent
    n_alerts = int(re.search(r"raised (\d+) alert", answer.evidence)[1])
    begun = sum(n in e.firing and (i == 0 or n not in watch[i - 1].firing) for i, e in enumerate(watch) for n in NAMES)
    assert n_alerts == begun
    assert "notified" not in answer.evidence


def test_a_rule_that_looks_back_over_days_says_how_little_of_them_was_seen():
    slow = next(r for r in RULES if "Slow" in r.name)
    assert window_of(slow.expression) == 3 * 86400
    watch = [Evaluation(at_s=t, firing=[], pending=[], values={slow.name: 0.1, "TtftHigh": 0.1}) for t in (0.0, 76.0)]
    assert f"{slow.name}" in verdict(watch, RULES).scope
    assert "of which 1 min 16 s were seen" in verdict(watch, RULES).scope


def test_a_rule_is_named_by_what_it_says():
    watch = [Evaluation(at_s=0.0, firing=["TtftHigh"], pending=[], values={"TtftHigh": 0.9})]
    assert verdict(watch, RULES).headline == "The service is not healthy: the p99 TTFT is above 0.5 s (TtftHigh)."
