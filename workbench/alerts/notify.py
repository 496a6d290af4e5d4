"""What is told of events: grouped, not too often, and not while somebody has asked for silence; as Prometheus' Alertmanager has it.

Names and meanings are Alertmanager's: the first message of a group waits ``group_wait_s`` for company, later changes wait
``group_interval_s`` after the last message, and what still fires is told again every ``repeat_s``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from workbench.alerts.evaluator import AlertState, Event
from workbench.alerts.series import Labels
from workbench.core.errors import InvalidSpec

RULE = "alertname"
SEVERITY = "severity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Events that nobody wants to hear of for a while; they are evaluated all the same."""

    matchers: Mapping[str, str]
    """Label to pattern (``*`` and ``?``); ``alertname`` and ``severity`` are labels too. All must match."""
    until_s: float
    """On the clock of the events."""

    def __post_init__(self) -> None:
        if not self.matchers:
            raise InvalidSpec(
                "A silence without matchers would silence everything.", remedy="Name alertname or a label."
            )

    def holds(self, labels: Mapping[str, str], at_s: float) -> bool:
        """Whether it covers labels at a moment."""
        return at_s < self.until_s and all(fnmatchcase(labels.get(k, ""), v) for k, v in self.matchers.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message about a group."""

    at_s: float
    group: Mapping[str, str]
    firing: tuple[Event, ...]
    """All of the group that fire, new ones and old ones."""
    resolved: tuple[Event, ...]
    """Those that are over since the last message."""


@dataclass(slots=True)
class _Group:
    firing: dict[tuple[str, Labels], Event] = field(default_factory=dict)
    resolved: dict[tuple[str, Labels], Event] = field(default_factory=dict)
    due_s: float | None = None
    told_s: float | None = None
    told: frozenset[tuple[str, Labels]] = frozenset()


class Notifier:
    """Turns events into messages.

    Args:
        group_by: Labels whose values make a group; ``alertname`` and ``severity`` are labels too.
        group_wait_s: Of the first message of a group.
        group_interval_s: Between messages of a group.
        repeat_s: After which what still fires is told again; None: never.
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
        """New events of a moment; what is to be told now. Call it at every look, with or without events."""
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
        elif group.firing.pop(which, None) is not None and which in group.told:
            group.resolved[which] = event
        if group.due_s is None:
            group.due_s = at_s + self._wait_s if group.told_s is None else max(at_s, group.told_s + self._interval_s)

    def _message(self, key: dict[str, str], group: _Group, at_s: float) -> Message | None:
        repeats = (
            self._repeat_s is not None
            and group.told_s is not None
            and bool(group.told)
            and at_s - group.told_s >= self._repeat_s
        )
        if not repeats and (group.due_s is None or at_s < group.due_s):
            return None
        group.due_s = None
        firing = {k: e for k, e in group.firing.items() if not silent(e, self.silences, at_s)}
        resolved = {k: e for k, e in group.resolved.items() if not silent(e, self.silences, at_s)}
        group.resolved = {}
        is_news = bool(resolved) or (frozenset(firing) - group.told) or repeats
        group.told = frozenset(firing)
        if not is_news or not (firing or resolved):
            return None
        group.told_s = at_s
        return Message(at_s=at_s, group=key, firing=tuple(firing.values()), resolved=tuple(resolved.values()))


def silent(event: Event, silences: Sequence[Silence], at_s: float) -> bool:
    """Whether any of the silences covers an event."""
    labels = _labels(event)
    return any(s.holds(labels, at_s) for s in silences)


def _labels(event: Event) -> dict[str, str]:
    return {**dict(event.labels), RULE: event.rule, SEVERITY: event.severity}
