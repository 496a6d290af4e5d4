"""Loads of the fault suite that ship: each fault is named soon, and the confirming load tells right from wrong."""

import pytest

from workbench.catalog.paths import MEASURED
from workbench.questions.latency.faults.measure import time_to_detect
from workbench.questions.latency.findings import diagnose
from workbench.questions.latency.findings.confirmation import again, confirmation, outcome
from workbench.questions.latency.findings.observation import observe
from workbench.store.runs import read_run_file

CAUSES = {
    "processor-hog-high": "processor taken by others",
    "salted-prefixes-high": "prefix cache missed",
    "server-pauses-high": "server pauses",
    "slow-network-high": "slow network",
}


def shipped(name):
    return read_run_file(MEASURED / "diagnosis" / f"201-{name}.json")


@pytest.fixture(scope="module")
def healthy():
    return shipped("healthy-0")


@pytest.mark.parametrize("name", CAUSES)
def test_a_fault_is_named_while_its_load_goes_on(healthy, name):
    load, cause = shipped(name), CAUSES[name]
    assert diagnose(healthy, load).named == cause
    assert 2 <= time_to_detect(observe(healthy), load, cause) <= load.spec["duration_s"]
    assert time_to_detect(observe(healthy), load, "surge") is None


@pytest.mark.parametrize("name", CAUSES)
def test_the_confirming_load_tells_right_from_wrong(healthy, name):
    load = shipped(name)
    asked = confirmation(diagnose(healthy, load), healthy, load)
    in_the_load = name == "salted-prefixes-high"  # sent as before, latency goes back; otherwise it stays
    for outcome_of, is_confirmed in ((healthy, in_the_load), (load, not in_the_load)):
        assert outcome(asked, healthy, load, outcome_of).is_confirmed is is_confirmed
    field = "shared_prefix_tokens"
    assert getattr(asked.spec, field) == healthy.spec[field]
    assert asked.spec.url == load.spec["url"]


def test_the_healthy_load_can_be_sent_again(healthy):
    spec = again(healthy)
    assert (spec.rate_per_s, spec.seed) == (healthy.spec["rate_per_s"], healthy.spec["seed"] + 1)
