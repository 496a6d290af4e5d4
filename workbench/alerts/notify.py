"""Notifications of events: grouped, rate-limited and suppressed by silences, as in Prometheus' Alertmanager.

Names and meanings are Alertmanager's: the first message of a group waits ``group_wait_s`` for more alerts, later changes wait
``group_interval_s`` after the last message, and alerts that still fire are sent again every ``repeat_s``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from workbench.alerts.evaluator import AlertState, Event
from workbench.alerts.series import Labels
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

RULE = "alertname"
SEVERITY = "severity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Events whose notifications are suppressed for a while; their rules are still evaluated."""

    matchers: Mapping[str, str]
    """Label to pattern (``*`` and ``?``); ``alertname`` and ``severity`` are labels too. All must match."""
    until_s: float
    """End of the silence, on the clock of the events."""

    def __post_init__(self) -> None:
        if not self.matchers:
            raise InvalidSpec(
                gettext("A silence without matchers would suppress every alert."),
                remedy=gettext("Name alertname or a label."),
            )

    def holds(self, labels: Mapping[str, str], at_s: float) -> bool:
        """Return whether the silence covers these labels at a time."""
        return at_s < self.until_s and all(fnmatchcase(labels.get(k, ""), v) for k, v in self.matchers.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message about a group of alerts."""

    at_s: float
    group: Mapping[str, str]
    firing: tuple[Event, ...]
    """Firing alerts of the group, new ones and old ones."""
    resolved: tuple[Event, ...]
    """Alerts that were resolved since the last message."""


@dataclass(slots=True)
class _Group:
    firing: dict[tuple[str, Labels], Event] = field(default_factory=dict)
    resolved: dict[tuple[str, Labels], Event] = field(default_factory=dict)
    due_s: float | None = None
    sent_s: float | None = None
    sent: frozenset[tuple[str, Labels]] = frozenset()


class Notifier:
    """Turns events into messages about groups of alerts.

    Args:
        group_by: Labels whose values make a group; ``alertname`` and ``severity`` are labels too.
        group_wait_s: Seconds that the first message of a group waits for more alerts.
        group_interval_s: Least seconds between two messages of a group.
        repeat_s: Seconds after which alerts that still fire are sent again; None: never.
    """

    def __init__(
        self,
        *,
        group_by: Sequence[str] = (SEVERITY,),
        group_wait_s: float = 30.0,
        group_interval_s: float = 300.0,
        repeat_s: float | None = 4 * 3600.0,
    ) -> None:
        self._group_by = tuple(group_by)
        self._wait_s, self._interval_s, self._repeat_s = group_wait_s, group_interval_s, repeat_s
        self._groups: dict[tuple[tuple[str, str], ...], _Group] = {}
        self.silences: list[Silence] = []

    def take(self, events: Sequence[Event], at_s: float) -> list[Message]:
        """Add the events of a time and return the messages that are due; call it at every evaluation, with or without events."""
        for event in events:
            labels = _labels(event)
            key = tuple((k, labels.get(k, "")) for k in self._group_by)
            self._note(self._groups.setdefault(key, _Group()), event, at_s)
        messages = []
        for key, group in list(self._groups.items()):
            message = self._message(dict(key), group, at_s)
            if message is not None:
                messages.append(message)
            if not group.firing and not group.resolved and group.due_s is None:
                del self._groups[key]
        return messages

    def _note(self, group: _Group, event: Event, at_s: float) -> None:
        which = (event.rule, event.labels)
        if event.state is AlertState.FIRING:
            group.firing[which] = event
            group.resolved.pop(which, None)
        elif group.firing.pop(which, None) is not None and which in group.sent:
            group.resolved[which] = event
        if group.due_s is None:
            group.due_s = at_s + self._wait_s if group.sent_s is None else max(at_s, group.sent_s + self._interval_s)

    def _message(self, key: dict[str, str], group: _Group, at_s: float) -> Message | None:
        repeats = (
            self._repeat_s is not None
            and group.sent_s is not None
            and bool(group.sent)
            and at_s - group.sent_s >= self._repeat_s
        )
        if not repeats and (group.due_s is None or at_s < group.due_s):
            return None
        group.due_s = None
        firing = {k: e for k, e in group.firing.items() if not silent(e, self.silences, at_s)}
        resolved = {k: e for k, e in group.resolved.items() if not silent(e, self.silences, at_s)}
        group.resolved = {}
        is_news = bool(resolved) or (frozenset(firing) - group.sent) or repeats
        group.sent = frozenset(firing)
        if not is_news or not (firing or resolved):
            return None
        group.sent_s = at_s
        return Message(at_s=at_s, group=key, firing=tuple(firing.values()), resolved=tuple(resolved.values()))


def silent(event: Event, silences: Sequence[Silence], at_s: float) -> bool:
    """Return whether any of the silences covers an event."""
    labels = _labels(event)
    return any(s.holds(labels, at_s) for s in silences)


def _labels(event: Event) -> dict[str, str]:
    return {**dict(event.labels), RULE: event.rule, SEVERITY: event.severity}
