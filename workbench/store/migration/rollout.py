"""Rollouts of format 1."""

from workbench.core.json_values import JsonObject

MEASURES = {"late first tokens": "late_ttft", "slow tokens": "slow_tpot"}


def migrated(run: JsonObject) -> JsonObject:
    """Return a rollout whose looks hold the state of the rollout, and whose measures have the names of their fields."""
    samples = run["samples"]
    courses = {scenario: [_look(look) for look in looks] for scenario, looks in samples["courses"].items()}
    return {
        **run,
        "results": [_result(row) for row in run["results"]],
        "samples": {"courses": courses, "baseline": samples["usual"]},
    }


def _result(row: JsonObject) -> JsonObject:
    return {
        **row,
        "reason": _reason(row["why"]),
        "duration_s": row["took_s"],
        "answers": {"n": row["n_answers"], "n_differ": row["n_answers_differ"]},
        "evidence": _evidence(row["evidence"]),
    }


def _look(look: JsonObject) -> JsonObject:
    state = {
        **look,
        "reason": _reason(look["why"]),
        "n_requests_in_step": look["requests_in_step"],
        "evidence": _evidence(look["evidence"]),
        "answers": {"n": look["answers"]["n"], "n_differ": look["answers"]["differ"]},
    }
    return {"at_s": look["at_s"], "n_failed": look["failed"], "state": state}


def _evidence(by_measure: dict[str, float]) -> dict[str, float]:
    return {MEASURES.get(name, name): value for name, value in by_measure.items()}


def _reason(text: str) -> str:
    return text.replace("late first tokens", "late TTFT").replace("slow tokens", "slow TPOT")
