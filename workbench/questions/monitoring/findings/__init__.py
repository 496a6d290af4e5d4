"""What a watch says: whether the service is healthy, and the rows of its tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass

from workbench.alerts.rules import Rule
from workbench.core.language import gettext, ngettext, pgettext
from workbench.core.runs import Run
from workbench.core.units import shown_duration, three_digits
from workbench.core.verdict import Answer, Verdict, objections
from workbench.load.rows import LoadResult
from workbench.questions.monitoring.rows import Evaluation, spans
from workbench.questions.monitoring.spec import MonitoringSpec

RULE_HEAD = (
    gettext("Rule"),
    gettext("state"),
    gettext("value now ●"),
    gettext("highest value ●"),
    gettext("fires when"),
    pgettext("condition of a rule", "after"),
    gettext("alerts"),
)
ALERT_HEAD = (gettext("Alert"), gettext("fired at"), gettext("resolved at"), gettext("severity"))
SEVERITIES = {"page": pgettext("severity", "page"), "ticket": gettext("ticket")}
"""What a reader sees of a severity."""


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
        state = (
            gettext("It is not known whether the service is healthy: {problem}.")
            if last.is_up
            else gettext("The server cannot be read: {problem}.")
        )
        headline = state.format(problem=last.problem)
    elif last.firing:
        headline = gettext("The service is not healthy: {rules}.").format(rules=_all_named(by_name, last.firing))
    elif len(silent) == len(by_name):
        headline, answer = gettext("It is not known whether the service is healthy: no rule had a value."), "open"
    elif fired:
        headline = gettext("The service is healthy now; before, {rules}.").format(rules=_all_named(by_name, fired))
    else:
        headline = gettext("The service is healthy: none of {n} rules fired in {duration}.").format(
            n=len(rules), duration=shown_duration(span_s)
        )
    n_alerts = sum(map(len, alerts.values()))
    points = []
    if silent:
        points.append(
            gettext("no value for {rules} (no data, too few events, or no outage)").format(
                rules=gettext(", ").join(silent)
            )
        )
    scope = None
    if long:
        longest = max(window_of(by_name[n].expression) for n in long)
        scope = gettext("{rules} look back over up to {longest}, of which {seen} were seen.").format(
            rules=gettext(", ").join(long), longest=shown_duration(longest), seen=shown_duration(span_s)
        )
    return Verdict(
        headline=headline,
        evidence=ngettext(
            "{evaluations} evaluations of {rules} rules raised {n} alert.",
            "{evaluations} evaluations of {rules} rules raised {n} alerts.",
            n_alerts,
        ).format(evaluations=len(evaluations), rules=len(rules), n=n_alerts),
        objection=objections(points) if answer == "yes" else None,
        scope=scope,
        answer=answer,
    )


def _all_named(rules: Mapping[str, Rule], names: Iterable[str]) -> str:
    return gettext("; ").join(_named(rules, n) for n in names)


def _named(rules: Mapping[str, Rule], name: str) -> str:
    """Return what a rule says in words, with its name."""
    rule = rules.get(name)
    words = rule.summary.rstrip(".。") if rule and rule.summary else name
    first = words.split(" ", 1)[0]
    words = words[:1].lower() + words[1:] if first[1:].islower() or len(first) == 1 else words
    return gettext("{summary} ({rule})").format(summary=words, rule=name)


def window_of(expression: object) -> float:
    """Return the seconds that an expression looks back over; the longest where it has several parts."""
    own = float(getattr(expression, "window_s", 0.0) or 0.0)
    parts = [getattr(expression, f.name) for f in fields(expression)] if is_dataclass(expression) else []
    inner = [p for part in parts for p in (part if isinstance(part, tuple | list) else (part,)) if is_dataclass(p)]
    return max([own, *(window_of(p) for p in inner)])


def about(run: Run | None) -> str:
    """Return the server or the load that the evaluations are from."""
    if run is None:
        return gettext("now")
    if run.kind == MonitoringSpec.kind:
        return gettext("at {url}, run {run}, {day}").format(url=run.asked(MonitoringSpec).url, run=run.id, day=run.day)
    return gettext(
        "on {device}, run {run}, {day}; the rules were evaluated in retrospect: TTFT as the client measured it, gauges as the server reported them"
    ).format(device=run.environment.device, run=run.id, day=run.day)


def label(run: Run) -> str:
    """Return the name of a watch or a load in the list of runs."""
    when = run.finished_at[:16].replace("T", " ")
    if run.kind == MonitoringSpec.kind:
        return f"{run.asked(MonitoringSpec).url} · {when} · {run.id}"
    result = run.row(LoadResult)
    rate = result.rates.offered_per_s if result and result.rates else None
    name = (
        gettext("load on {model}, {rate} requests/s").format(model=run.model, rate=f"{rate:.1f}")
        if rate
        else gettext("load on {model}").format(model=run.model)
    )
    return f"{name} · {run.environment.device} · {when}"


def rule_rows(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the cells of ``RULE_HEAD`` for each rule."""
    alerts, now, rows = spans(evaluations, "firing"), evaluations[-1], list[tuple[str, ...]]()
    for rule in rules:
        values = [e.values[rule.name] for e in evaluations if rule.name in e.values]
        state = (
            gettext("firing")
            if rule.name in now.firing
            else gettext("pending")
            if rule.name in now.pending
            else gettext("inactive")
        )
        last, highest = (values[-1], max(values)) if values else (None, None)
        shown = (state if values else gettext("no data"), three_digits(last), three_digits(highest))
        after = shown_duration(rule.for_s) if rule.for_s else gettext("at once")
        limits = (f"{rule.compare} {rule.threshold:g}", after)
        rows.append((rule.name, *shown, *limits, str(len(alerts.get(rule.name, ())))))
    return rows


def alert_rows(evaluations: Sequence[Evaluation], rules: Sequence[Rule]) -> list[tuple[str, ...]]:
    """Return the cells of ``ALERT_HEAD`` for each alert, in the order of time."""
    severities = {r.name: SEVERITIES[r.severity] for r in rules}
    alerts = sorted((begin, end, name) for name, spent in spans(evaluations, "firing").items() for begin, end in spent)
    return [
        (name, f"{begin:.0f} s", f"{end:.0f} s" if end < evaluations[-1].at_s else gettext("firing"), severities[name])
        for begin, end, name in alerts
    ]
