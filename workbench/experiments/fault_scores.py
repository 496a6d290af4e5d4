"""How well causes are found, by every way that was tried on the same episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.core.statistics import share_interval

OURS = "workbench"
NONE = "none"


def scores(episodes: Sequence[Mapping[str, Any]], method: str) -> dict[str, Any]:
    """Top-1 and top-3 accuracy with 95 % intervals, macro-F1, false alarms, abstentions and middle time to detect.

    Faults count when their proof holds. A fault without an alarm, and one on which the diagnosis abstains, is not top-1; it is top-3 when an
    alarm was raised and the true cause is among the first three. A control is a false alarm when anything is alarmed.
    """
    faults = [e for e in episodes if e["cause"] is not None and e["took_effect"]]
    controls = [e for e in episodes if e["cause"] is None]
    first = [e for e in faults if _named(e, method) == e["cause"]]
    third = [e for e in faults if _said(e, method)["alarm"] and e["cause"] in _said(e, method)["causes"][:3]]
    false = [e for e in controls if _said(e, method)["alarm"]]
    told: dict[str, Any] = {
        "method": method,
        "n_faults": len(faults),
        "n_controls": len(controls),
        "top1": len(first) / len(faults) if faults else None,
        "top3": len(third) / len(faults) if faults else None,
        "false_alarms": len(false) / len(controls) if controls else None,
        "alarmed": sum(_said(e, method)["alarm"] for e in faults) / len(faults) if faults else None,
        "abstained": sum(bool(_said(e, method).get("abstains")) for e in faults) / len(faults) if faults else None,
        "macro_f1": macro_f1([*faults, *controls], method),
    }
    for name, n, of in (
        ("top1", len(first), len(faults)),
        ("top3", len(third), len(faults)),
        ("false_alarms", len(false), len(controls)),
    ):
        interval = share_interval(n, of) if of else None
        told[f"{name}_interval"] = (interval.low, interval.high) if interval is not None else None
    times = sorted(e["time_to_detect_s"] for e in faults if e.get("time_to_detect_s") is not None)
    told["time_to_detect_s"] = times[len(times) // 2] if times and method == OURS else None
    believed = [(_said(e, method).get("share"), _named(e, method) == e["cause"]) for e in faults]
    seen = [(share, right) for share, right in believed if share is not None]
    told["brier"] = sum((share - right) ** 2 for share, right in seen) / len(seen) if seen else None
    return told


def _said(episode: Mapping[str, Any], method: str) -> Mapping[str, Any]:
    said: Mapping[str, Any] = episode["said"][method]
    return said


def _named(episode: Mapping[str, Any], method: str) -> str | None:
    said = _said(episode, method)
    return said["causes"][0] if said["alarm"] and not said.get("abstains") and said["causes"] else None


def macro_f1(episodes: Sequence[Mapping[str, Any]], method: str) -> float | None:
    """Mean over causes, "none" among them, of the harmonic mean of precision and recall."""
    pairs = [(e["cause"] or NONE, _named(e, method) or NONE) for e in episodes]
    causes = sorted({truth for truth, _ in pairs})
    if not causes:
        return None
    each: list[float] = []
    for cause in causes:
        right = sum(truth == said == cause for truth, said in pairs)
        n_true, n_said = (sum(pair[i] == cause for pair in pairs) for i in (0, 1))
        each.append(2 * right / (n_true + n_said))
    return sum(each) / len(each)


def by_fault(episodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How often each fault and dose was alarmed and named by ours."""
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for e in episodes:
        row = told.setdefault(
            (e["fault"], e["dose"]),
            {
                "fault": e["fault"],
                "dose": e["dose"],
                "cause": e["cause"],
                "n": 0,
                "took_effect": 0,
                "alarmed": 0,
                "named": 0,
            },
        )
        row["n"] += 1
        row["took_effect"] += e["took_effect"]
        row["alarmed"] += _said(e, OURS)["alarm"]
        row["named"] += _named(e, OURS) == e["cause"]
    return list(told.values())
