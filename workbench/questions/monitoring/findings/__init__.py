"""What a watch says: whether the service is healthy, and the rows of its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass

from workbench.alerts.rules import Rule
from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.core.verdict import Answer, Verdict, objections
from workbench.load.rows import LoadResult
from workbench.questions.monitoring.rows import Evaluation, spans
from workbench.questions.monitoring.spec import MonitoringSpec

RULE_HEAD = ("Rule", "state", "value now ●", "highest value ●", "fires when", "after", "alerts")
ALERT_HEAD = ("Alert", "fired at", "resolved at", "severity")


def verdict(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> Verdict:
    """Return whether the service is healthy; not known where the rules could not be evaluated the last time."""
    by_name, last = {r.name: r for r in rules}, evaluations[-1]
    alerts = spans(evaluations, "firing")
    fired = [name for name in by_name if name in alerts]
    silent = [name for name in by_name if not any(name in e.values for e in evaluations)]
    span_s = last.at_s - evaluations[0].at_s
    long = [name for name, r in by_name.items() if window_of(r.expression) > span_s and name not in silent]
    answer: Answer = "open" if last.problem else "no" if last.firing else "yes"
    if last.problem:
        state = "It is not known whether the service is healthy" if last.is_up else "The server cannot be read"
        headline = f"{state}: {last.problem}."
    elif last.firing:
        headline = f"The service is not healthy: {'; '.join(_named(by_name, n) for n in last.firing)}."
    elif len(silent) == len(by_name):
        headline, answer = "It is not known whether the service is healthy: no rule had a value.", "open"
    elif fired:
        headline = f"The service is healthy now; before, {'; '.join(_named(by_name, n) for n in fired)}."
    else:
        headline = f"The service is healthy: none of {len(rules)} rules fired in {shown_duration(span_s)}."
    n_alerts = sum(map(len, alerts.values()))
    points = [f"no value for {', '.join(silent)} (no data, too few events, or no outage)"] if silent else []
    scope = None
    if long:
        longest = max(window_of(by_name[n].expression) for n in long)
        scope = f"{', '.join(long)} look back over up to {shown_duration(longest)}, of which {shown_duration(span_s)} were seen."
    return Verdict(
        headline=headline,
        evidence=f"{len(evaluations)} evaluations of {len(rules)} rules raised {n_alerts} alert{'' if n_alerts == 1 else 's'}.",
        objection=objections(points) if answer == "yes" else None,
        scope=scope,
        answer=answer,
    )


def _named(rules: Mapping[str, Rule], name: str) -> str:
    """Return what a rule says in words, with its name."""
    rule = rules.get(name)
    words = rule.summary.rstrip(".") if rule and rule.summary else name
    first = words.split(" ", 1)[0]
    return f"{words[:1].lower() + words[1:] if first[1:].islower() or len(first) == 1 else words} ({name})"


def window_of(expression: object) -> float:
    """Return the seconds that an expression looks back over; the longest where it has several parts."""
    own = float(getattr(expression, "window_s", 0.0) or 0.0)
    parts = [getattr(expression, f.name) for f in fields(expression)] if is_dataclass(expression) else []
    inner = [p for part in parts for p in (part if isinstance(part, tuple | list) else (part,)) if is_dataclass(p)]
    return max([own, *(window_of(p) for p in inner)])


def about(run: Run | None) -> str:
    """Return the server or the load that the evaluations are from."""
    if run is None:
        return "now"
    if run.kind == MonitoringSpec.kind:
        return f"at {run.asked(MonitoringSpec).url}, run {run.id}, {run.day}"
    return (
        f"on {run.environment.device}, run {run.id}, {run.day}; the rules were evaluated in retrospect: "
        "TTFT as the client measured it, gauges as the server reported them"
    )


def label(run: Run) -> str:
    """Return the name of a watch or a load in the list of runs."""
    when = run.finished_at[:16].replace("T", " ")
    if run.kind == MonitoringSpec.kind:
        return f"{run.asked(MonitoringSpec).url} · {when} · {run.id}"
    result = run.row(LoadResult)
    rate = result.rates.offered_per_s if result and result.rates else None
    shown = f", {rate:.1f} requests/s" if rate else ""
    return f"load on {run.model}{shown} · {run.environment.device} · {when}"


def rule_rows(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the cells of ``RULE_HEAD`` for each rule."""
    alerts, now, rows = spans(evaluations, "firing"), evaluations[-1], list[tuple[str, ...]]()
    for rule in rules:
        values = [e.values[rule.name] for e in evaluations if rule.name in e.values]
        state = "firing" if rule.name in now.firing else "pending" if rule.name in now.pending else "inactive"
        last, highest = (values[-1], max(values)) if values else (None, None)
        shown = (state if values else "no data", three_digits(last), three_digits(highest))
        limits = (f"{rule.compare} {rule.threshold:g}", shown_duration(rule.for_s) if rule.for_s else "at once")
        rows.append((rule.name, *shown, *limits, str(len(alerts.get(rule.name, ())))))
    return rows


def alert_rows(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the cells of ``ALERT_HEAD`` for each alert, in the order of time."""
    severities = {r.name: r.severity for r in rules}
    alerts = sorted((begin, end, name) for name, spent in spans(evaluations, "firing").items() for begin, end in spent)
    return [
        (name, f"{begin:.0f} s", f"{end:.0f} s" if end < evaluations[-1].at_s else "firing", severities[name])
        for begin, end, name in alerts
    ]
