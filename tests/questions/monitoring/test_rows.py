"""Watches as runs: what a run keeps is read again, and older watches have the present names of their rules."""

import json
from dataclasses import replace

from workbench.alerts.evaluator import AlertState
from workbench.catalog.paths import MEASURED
from workbench.questions.monitoring.rows import AlertEvent, Evaluation, MonitoringSamples, spans
from workbench.questions.monitoring.spec import MonitoringSpec
from workbench.store.decoding import run_from_json
from workbench.store.runs import read_run_file

EVENT = AlertEvent(
    rule="TtftHigh",
    state=AlertState.FIRING,
    severity="page",
    value=0.7,
    labels={"model_name": "m"},
    summary="The p99 TTFT is above 0.5 s.",
    server="http://localhost:8000",
    at_s=15.0,
    at="2026-11-25T23:08:00+00:00",
)
EVALUATIONS = [
    Evaluation(at_s=0.0, firing=[], pending=["TtftHigh"], values={"TtftHigh": 0.6}),
    Evaluation(at_s=15.0, firing=["TtftHigh"], pending=[], values={"TtftHigh": 0.7}),
    Evaluation(at_s=30.0, firing=["TtftHigh"], pending=[], values={}, problem="no page", is_up=False),
]
LOAD = read_run_file(MEASURED / "diagnosis" / "201-healthy-0.json")
WATCH = replace(
    LOAD,
    kind=MonitoringSpec.kind,
    spec=MonitoringSpec(url="http://localhost:8000").to_dict(),
    results=[EVENT],
    samples=MonitoringSamples(evaluations=EVALUATIONS),
)


def test_a_watch_comes_back_from_json():
    again = run_from_json(WATCH.to_json())
    assert again == WATCH
    assert spans(again.sampled(MonitoringSamples).evaluations, "firing") == {"TtftHigh": [(15.0, 30.0)]}


def test_a_watch_of_the_first_format_has_the_present_names_of_its_rules():
    old = json.loads(WATCH.to_json()) | {"schema_version": 1}
    old["results"] = [{k: v for k, v in old["results"][0].items() if k not in {"at", "suppressed"}}]
    looks = [{k: v for k, v in e.items() if k not in {"is_up", "prefix"}} for e in old["samples"]["evaluations"]]
    text = json.dumps(old | {"samples": {"looks": looks}}).replace("TtftHigh", "FirstTokensLate")
    again = run_from_json(text)
    assert again.results == [replace(EVENT, at=None)]
    assert again.sampled(MonitoringSamples) == WATCH.samples
