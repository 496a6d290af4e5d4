"""Rules: what is watched, from when on it is bad, and for how long; each is also PromQL."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from workbench.alerts.series import Labels, SeriesStore, added, bucket_quantile
from workbench.core.errors import InvalidSpec

Compare = Literal[">", ">=", "<", "<="]
Severity = Literal["page", "ticket"]
COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}


def shown_seconds(seconds: float) -> str:
    """A duration as PromQL writes it."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000:
        return f"{milliseconds}ms"
    whole = milliseconds // 1000
    return f"{whole // 60}m" if whole and whole % 60 == 0 else f"{whole}s"


def _selector(metric: str, matchers: Mapping[str, str], window_s: float | None = None) -> str:
    inside = ",".join(f"{name}={json.dumps(value)}" for name, value in sorted(matchers.items()))
    text = metric + (f"{{{inside}}}" if inside else "")
    return text if window_s is None else f"{text}[{shown_seconds(window_s)}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The newest value of each series of a gauge."""

    metric: str
    matchers: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        """The same for Prometheus."""
        return _selector(self.metric, self.matchers)

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """By labels."""
        return store.latest(self.metric, self.matchers, at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Growth a second of a counter over a window, added up over its series; it decays when nothing comes."""

    metric: str
    window_s: float = 300.0
    matchers: Mapping[str, str] = field(default_factory=dict)
    by: Sequence[str] = ()
    """Labels that are kept apart."""

    def promql(self) -> str:
        """The same for Prometheus."""
        by = f" by ({', '.join(self.by)})" if self.by else ""
        return f"sum{by}(rate({_selector(self.metric, self.matchers, self.window_s)}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """By the labels that are kept."""
        return added(store.rate(self.metric, self.matchers, at_s, self.window_s), self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One rate over another, told only where the second counted enough events to mean something."""

    part: Rate
    whole: Rate
    least_events: float = 20.0
    """Of the second, in its window; above 0."""

    def __post_init__(self) -> None:
        if not self.least_events > 0:
            raise InvalidSpec(f"least_events is {self.least_events}.", remedy="Give a number above zero.")

    def promql(self) -> str:
        """The same for Prometheus."""
        enough = f"{self.whole.promql()} * {self.whole.window_s:g} >= {self.least_events:g}"
        return f"({self.part.promql()} / ({self.whole.promql()} and {enough}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """By labels that both have."""
        parts, wholes = self.part.at(store, at_s), self.whole.at(store, at_s)
        return {
            labels: parts[labels] / whole
            for labels, whole in wholes.items()
            if labels in parts and whole * self.whole.window_s >= self.least_events and whole
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowShare:
    """Share of a histogram's events above one of its bounds, told only where there were enough of them."""

    histogram: str
    """Without ``_bucket`` and ``_count``."""
    bound: str
    """A bucket's ``le``, as the server writes it."""
    window_s: float = 300.0
    least_events: float = 20.0
    matchers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.least_events > 0:
            raise InvalidSpec(f"least_events is {self.least_events}.", remedy="Give a number above zero.")

    @property
    def _quick(self) -> Rate:
        matchers = dict(self.matchers) | {"le": self.bound}
        return Rate(metric=f"{self.histogram}_bucket", window_s=self.window_s, matchers=matchers)

    @property
    def _ratio(self) -> Ratio:
        whole = Rate(metric=f"{self.histogram}_count", window_s=self.window_s, matchers=self.matchers)
        return Ratio(part=self._quick, whole=whole, least_events=self.least_events)

    def promql(self) -> str:
        """The same for Prometheus."""
        return f"(1 - {self._ratio.promql()})"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """One value without labels, or none."""
        return {labels: 1 - value for labels, value in self._ratio.at(store, at_s).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """The lesser of two, where both are: a condition that must hold in a long and in a short window."""

    first: "Ratio | SlowShare"
    second: "Ratio | SlowShare"

    def promql(self) -> str:
        """The same for Prometheus."""
        a, b = self.first.promql(), self.second.promql()
        return f"(({a} <= {b}) or ({b} < {a}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """By labels that both have."""
        first, second = self.first.at(store, at_s), self.second.at(store, at_s)
        return {labels: min(value, second[labels]) for labels, value in first.items() if labels in second}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of a histogram over a window."""

    histogram: str
    """Without ``_bucket``."""
    q: float
    window_s: float = 300.0
    matchers: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        """The same for Prometheus."""
        buckets = _selector(f"{self.histogram}_bucket", self.matchers, self.window_s)
        return f"histogram_quantile({self.q:g}, sum by (le) (rate({buckets})))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """One value without labels, or none."""
        grown = added(store.rate(f"{self.histogram}_bucket", self.matchers, at_s, self.window_s), ("le",))
        buckets = {float(dict(labels)["le"]): v for labels, v in grown.items() if labels}
        return {(): bucket_quantile(self.q, buckets)} if buckets else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """1 where a metric has no series at all: an outage is an alert, not silence."""

    metric: str
    matchers: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        """The same for Prometheus."""
        return f"absent({_selector(self.metric, self.matchers)})"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """With the labels that were asked for."""
        if store.latest(self.metric, self.matchers, at_s):
            return {}
        return {tuple(sorted(self.matchers.items())): 1.0}


Expression = Value | Rate | Ratio | SlowShare | Least | Quantile | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An alert: a condition that must last before it is told, and stay away before it is over."""

    name: str
    expression: Expression
    compare: Compare
    threshold: float
    for_s: float = 0.0
    """The condition must hold so long; Prometheus' ``for``."""
    keep_firing_for_s: float = 0.0
    """It must be over so long; Prometheus' ``keep_firing_for``."""
    severity: Severity = "ticket"
    summary: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise InvalidSpec(f"A rule named {self.name!r}.", remedy="Use letters, digits and underscores.")
        if self.compare not in COMPARES:
            raise InvalidSpec(f"A comparison {self.compare!r}.", remedy=f"Choose from: {', '.join(COMPARES)}.")
        if not isfinite(self.threshold) or self.for_s < 0 or self.keep_firing_for_s < 0:
            raise InvalidSpec(f"Rule {self.name} has odd numbers.", remedy="Give finite ones, and times from 0 on.")

    def promql(self) -> str:
        """The condition for Prometheus."""
        return f"{self.expression.promql()} {self.compare} {self.threshold!r}"

    def holding(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """The values that meet the condition, by labels."""
        meets = COMPARES[self.compare]
        return {
            labels: value for labels, value in self.expression.at(store, at_s).items() if meets(value, self.threshold)
        }


def rules_yaml(rules: Sequence[Rule], *, group: str = "workbench", interval_s: float = 15.0) -> str:
    """A rule file for Prometheus; JSON is YAML, so no writer of YAML is needed."""
    made = []
    for rule in rules:
        row: dict[str, object] = {"alert": rule.name, "expr": rule.promql(), "labels": {"severity": rule.severity}}
        if rule.for_s:
            row["for"] = shown_seconds(rule.for_s)
        if rule.keep_firing_for_s:
            row["keep_firing_for"] = shown_seconds(rule.keep_firing_for_s)
        if rule.summary:
            row["annotations"] = {"summary": rule.summary}
        made.append(row)
    return json.dumps({"groups": [{"name": group, "interval": shown_seconds(interval_s), "rules": made}]}, indent=1)
