"""The states of alerts: pending, firing and resolved, as in Prometheus; each change is one event."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from workbench.alerts.rules import Rule
from workbench.alerts.series import Labels, SeriesStore


class AlertState(StrEnum):
    """State of an alert, named as in Prometheus."""

    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(slots=True)
class Alert:
    """The condition of one rule for one set of labels."""

    rule: Rule
    labels: Labels
    value: float
    state: AlertState
    active_since_s: float
    over_since_s: float | None = None
    """Since when the condition of a firing alert no longer holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of an alert: it began to fire, or it was resolved."""

    at_s: float
    rule: str
    labels: Labels
    state: AlertState
    value: float
    severity: str
    summary: str


class Evaluator:
    """Evaluates rules again and again; a lasting condition yields one event when it fires and one when it is resolved."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = list(rules)
        self.alerts: dict[tuple[str, Labels], Alert] = {}

    def evaluate(self, store: SeriesStore, at_s: float) -> list[Event]:
        """Evaluate all rules at a time and return the events; times must not go back."""
        events: list[Event] = []
        for rule in self.rules:
            holding = rule.holding(store, at_s)
            for labels, value in holding.items():
                known = self.alerts.get((rule.name, labels))
                if known is None:
                    known = Alert(rule, labels, value, AlertState.PENDING, at_s)
                    self.alerts[rule.name, labels] = known
                known.value, known.over_since_s = value, None
            for key in [k for k in self.alerts if k[0] == rule.name]:
                event = self._advance(self.alerts[key], holds=key[1] in holding, at_s=at_s)
                if event is not None:
                    events.append(event)
        return events

    def _advance(self, alert: Alert, *, holds: bool, at_s: float) -> Event | None:
        if not holds:
            if alert.state is AlertState.PENDING:
                del self.alerts[alert.rule.name, alert.labels]
                return None
            if alert.over_since_s is None:
                alert.over_since_s = at_s
            if at_s - alert.over_since_s < alert.rule.keep_firing_for_s:
                return None
            del self.alerts[alert.rule.name, alert.labels]
            return _event(alert, AlertState.RESOLVED, at_s)
        if alert.state is AlertState.PENDING and at_s - alert.active_since_s >= alert.rule.for_s:
            alert.state = AlertState.FIRING
            return _event(alert, AlertState.FIRING, at_s)
        return None


def _event(alert: Alert, state: AlertState, at_s: float) -> Event:
    return Event(
        at_s=at_s,
        rule=alert.rule.name,
        labels=alert.labels,
        state=state,
        value=alert.value,
        severity=alert.rule.severity,
        summary=alert.rule.summary,
    )
