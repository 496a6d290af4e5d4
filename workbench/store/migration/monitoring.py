"""Watches of format 1."""

from workbench.core.json_values import JsonObject

RULES = {
    "FirstTokensLate": "TtftHigh",
    "TokensSlow": "ItlHigh",
    "RequestsWait": "RequestsQueued",
    "CacheFull": "KvCacheFull",
    "AnswersCutOff": "RequestsAborted",
    "PromiseUsedUpFast": "ErrorBudgetBurnFast",
    "PromiseUsedUpMiddle": "ErrorBudgetBurnMedium",
    "PromiseUsedUpSlow": "ErrorBudgetBurnSlow",
}
"""Names of the rules by their former names."""


def migrated(run: JsonObject) -> JsonObject:
    """Return a watch with the present names of its rules; the oldest ones did not say whether the page could be read."""
    events = [{**event, "rule": RULES.get(event["rule"], event["rule"])} for event in run["results"]]
    return {**run, "results": events, "samples": {"evaluations": [_evaluation(e) for e in run["samples"]["looks"]]}}


def _evaluation(look: JsonObject) -> JsonObject:
    firing, pending = ([RULES.get(name, name) for name in look[state]] for state in ("firing", "pending"))
    values = {RULES.get(name, name): value for name, value in look["values"].items()}
    return {"is_up": look["problem"] is None, **look, "firing": firing, "pending": pending, "values": values}
