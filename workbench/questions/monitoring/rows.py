"""What a watch leaves behind: a row for each event, the evaluations of its rules, and the spans that rules spent in a state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from workbench.alerts.evaluator import AlertState, Event
from workbench.alerts.notify import Message
from workbench.core.rows import Row, Samples
from workbench.core.runs import utc_now
from workbench.telemetry.metrics_source import PREFIXES


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent(Row):
    """An alert that began to fire or was resolved: a row of a run, a line of the log, and the body of a callback."""

    rule: str
    state: AlertState
    severity: str
    value: float
    """Value of the rule's expression at that time."""
    labels: Mapping[str, str]
    summary: str
    server: str
    """Base URL of the server."""
    at_s: float
    """Time since the watch began."""
    at: str | None = None
    """Date and time in ISO 8601; None in runs of older versions."""
    suppressed: bool = False
    """Whether a silence suppresses the notification."""

    @classmethod
    def of(cls, event: Event, *, server: str, origin_s: float, suppressed: bool = False) -> Self:
        """Return an event of now, whose clock began at ``origin_s``."""
        return cls(
            rule=event.rule,
            state=event.state,
            severity=event.severity,
            value=event.value,
            labels=dict(event.labels),
            summary=event.summary,
            server=server,
            at_s=round(event.at_s - origin_s, 3),
            at=utc_now(),
            suppressed=suppressed,
        )

    @property
    def about(self) -> str:
        """Name of the rule that the event is about."""
        return self.rule


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMessage:
    """A message about a group of alerts: the body of a callback."""

    group: Mapping[str, str]
    """Labels that the alerts share."""
    firing: Sequence[AlertEvent]
    """Alerts of the group that fire."""
    resolved: Sequence[AlertEvent]
    """Alerts of the group that were resolved since the last message."""
    server: str
    """Base URL of the server."""
    at: str
    """Date and time in ISO 8601."""

    @classmethod
    def of(cls, message: Message, *, server: str, origin_s: float) -> Self:
        """Return a message of now, whose clock began at ``origin_s``."""
        firing, resolved = (
            [AlertEvent.of(e, server=server, origin_s=origin_s) for e in events]
            for events in (message.firing, message.resolved)
        )
        return cls(group=message.group, firing=firing, resolved=resolved, server=server, at=utc_now())

    @property
    def about(self) -> str:
        """Names of the rules that the message is about."""
        return ", ".join(e.rule for e in (*self.firing, *self.resolved))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One evaluation of the rules."""

    at_s: float
    """Time since the watch began."""
    firing: Sequence[str]
    """Names of the rules that fire now."""
    pending: Sequence[str]
    """Names of the rules whose condition holds, but has not lasted long enough."""
    values: Mapping[str, float]
    """Values of the rules' expressions, by rule; the greatest where there are several. A rule without data is left out."""
    problem: str | None = None
    """Why the rules could not be evaluated: the page could not be read, or has none of their metrics."""
    is_up: bool = True
    """Whether the server's page of metrics could be read."""
    prefix: str = PREFIXES[0]
    """First characters of the metrics' names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveEvaluation(Evaluation):
    """An evaluation of now, whose time is that of the watch's clock."""

    events: Sequence[Event]

    def kept(self, *, origin_s: float) -> Evaluation:
        """Return the evaluation as a run keeps it."""
        return Evaluation(
            at_s=round(self.at_s - origin_s, 3),
            firing=self.firing,
            pending=self.pending,
            values={name: float(f"{value:.6g}") for name, value in self.values.items()},
            problem=self.problem,
            is_up=self.is_up,
            prefix=self.prefix,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringSamples(Samples):
    """The evaluations of a watch, in the order of time."""

    evaluations: Sequence[Evaluation]


ROWS = (AlertEvent,)
SAMPLES = MonitoringSamples


def spans(
    evaluations: Sequence[Evaluation], state: Literal["firing", "pending"]
) -> dict[str, list[tuple[float, float]]]:
    """Return when each rule was in a state, from evaluation to evaluation."""
    by_rule: dict[str, list[tuple[float, float]]] = {}
    for this, following in zip(evaluations, [*evaluations[1:], evaluations[-1]] if evaluations else (), strict=True):
        for name in this.firing if state == "firing" else this.pending:
            known = by_rule.setdefault(name, [])
            start = known.pop()[0] if known and known[-1][1] == this.at_s else this.at_s
            known.append((start, following.at_s))
    return by_rule
