"""What a watch says: whether the service is healthy, and the rows of its tables."""

from collections.abc import Sequence

from workbench.alerts.rules import Rule
from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.core.verdict import Verdict
from workbench.load.rows import LoadResult
from workbench.questions.monitoring.rows import Evaluation, spans
from workbench.questions.monitoring.spec import MonitoringSpec

RULE_HEAD = ("Rule", "state", "value now ●", "highest value ●", "fires when", "after", "alerts")
ALERT_HEAD = ("Alert", "fired at", "resolved at", "severity")


def verdict(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> Verdict:
    """Return whether the service is healthy; not known where the rules could not be evaluated the last time."""
    summaries, last = {r.name: r.summary for r in rules}, evaluations[-1]
    alerts = spans(evaluations, "firing")
    fired = [name for name in summaries if name in alerts]
    silent = [name for name in summaries if not any(name in e.values for e in evaluations)]
    if last.problem:
        state = "It is not known whether the service is healthy" if last.is_up else "The server cannot be read"
        headline = f"{state}: {last.problem}."
    elif last.firing:
        headline = (
            f"The service is not healthy: {', '.join(last.firing)} {'fires' if len(last.firing) == 1 else 'fire'} now."
        )
    elif fired:
        headline = (
            f"The service is healthy now; {', '.join(fired)} fired and {'was' if len(fired) == 1 else 'were'} resolved."
        )
    else:
        span = shown_duration(last.at_s - evaluations[0].at_s)
        headline = f"The service is healthy: none of {len(rules)} rules fired in {span}."
    n_alerts = sum(map(len, alerts.values()))
    causes = "".join(f"{summaries[name]} " for name in fired[:3])
    return Verdict(
        headline=headline,
        evidence=f"{causes}{len(evaluations)} evaluations raised {n_alerts} alert{'' if n_alerts == 1 else 's'}, each notified once.",
        objection=f"{len(silent)} rules had no value: {', '.join(silent) or 'none'} "
        "(no data, too few events, or no outage).",
    )


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
