"""Alert rules: an expression, a threshold and a duration; each can be written as PromQL."""

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from workbench.alerts.series import Labels, SeriesStore, bucket_quantile, sums_by
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

Compare = Literal[">", ">=", "<", "<="]
Severity = Literal["page", "ticket"]
COMPARES: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def shown_seconds(seconds: float) -> str:
    """Return a duration as PromQL writes it."""
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
        """Return the expression in PromQL."""
        return _selector(self.metric, self.matchers)

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return the newest values by their labels."""
        return store.latest(self.metric, self.matchers, at_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Growth per second of a counter over a window, summed over its series; it decays when no events arrive."""

    metric: str
    window_s: float = 300.0
    matchers: Mapping[str, str] = field(default_factory=dict)
    by: Sequence[str] = ()
    """Labels by which the sum is grouped."""

    def promql(self) -> str:
        """Return the expression in PromQL."""
        by = f" by ({', '.join(self.by)})" if self.by else ""
        return f"sum{by}(rate({_selector(self.metric, self.matchers, self.window_s)}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return the rates by the labels of ``by``."""
        return sums_by(store.rate(self.metric, self.matchers, at_s, self.window_s), self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """One rate over another; it has no value where the second counted too few events to mean something."""

    part: Rate
    whole: Rate
    least_events: float = 20.0
    """Least events of the second rate in its window; above 0."""

    def __post_init__(self) -> None:
        if not self.least_events > 0:
            raise InvalidSpec(
                gettext("least_events is {n}.").format(n=self.least_events),
                remedy=gettext("Give a number above zero."),
            )

    def promql(self) -> str:
        """Return the expression in PromQL."""
        enough = f"{self.whole.promql()} * {self.whole.window_s:g} >= {self.least_events:g}"
        return f"({self.part.promql()} / ({self.whole.promql()} and {enough}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return the lesser values, by the labels that both have."""
        parts, wholes = self.part.at(store, at_s), self.whole.at(store, at_s)
        return {
            labels: parts[labels] / whole
            for labels, whole in wholes.items()
            if labels in parts and whole * self.whole.window_s >= self.least_events and whole
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowShare:
    """Share of a histogram's events above one of its bounds, with a value only where there were enough of them."""

    histogram: str
    """Name of the histogram, without ``_bucket`` and ``_count``."""
    bound: str
    """Label ``le`` of a bucket, as the server writes it."""
    window_s: float = 300.0
    least_events: float = 20.0
    matchers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.least_events > 0:
            raise InvalidSpec(
                gettext("least_events is {n}.").format(n=self.least_events),
                remedy=gettext("Give a number above zero."),
            )

    @property
    def _ratio(self) -> Ratio:
        quick = dict(self.matchers) | {"le": self.bound}
        part = Rate(metric=f"{self.histogram}_bucket", window_s=self.window_s, matchers=quick)
        whole = Rate(metric=f"{self.histogram}_count", window_s=self.window_s, matchers=self.matchers)
        return Ratio(part=part, whole=whole, least_events=self.least_events)

    def promql(self) -> str:
        """Return the expression in PromQL."""
        return f"(1 - {self._ratio.promql()})"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return one value without labels, or none."""
        return {labels: 1 - value for labels, value in self._ratio.at(store, at_s).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """The lesser of two values, where both exist: a condition that must hold in a long and in a short window."""

    first: "Ratio | SlowShare"
    second: "Ratio | SlowShare"

    def promql(self) -> str:
        """Return the expression in PromQL."""
        a, b = self.first.promql(), self.second.promql()
        return f"(({a} <= {b}) or ({b} < {a}))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return the lesser values, by the labels that both have."""
        first, second = self.first.at(store, at_s), self.second.at(store, at_s)
        return {labels: min(value, second[labels]) for labels, value in first.items() if labels in second}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantile:
    """A quantile of a histogram over a window."""

    histogram: str
    """Name of the histogram, without ``_bucket``."""
    q: float
    window_s: float = 300.0
    matchers: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        """Return the expression in PromQL."""
        buckets = _selector(f"{self.histogram}_bucket", self.matchers, self.window_s)
        return f"histogram_quantile({self.q:g}, sum by (le) (rate({buckets})))"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return one value without labels, or none."""
        grown = sums_by(store.rate(f"{self.histogram}_bucket", self.matchers, at_s, self.window_s), ("le",))
        buckets = {float(dict(labels)["le"]): v for labels, v in grown.items() if labels}
        return {(): bucket_quantile(self.q, buckets)} if buckets else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """1 where a metric has no series at all: an outage is an alert, not silence."""

    metric: str
    matchers: Mapping[str, str] = field(default_factory=dict)

    def promql(self) -> str:
        """Return the expression in PromQL."""
        return f"absent({_selector(self.metric, self.matchers)})"

    def at(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return 1 with the labels of the matchers where the metric is absent."""
        if store.latest(self.metric, self.matchers, at_s):
            return {}
        return {tuple(sorted(self.matchers.items())): 1.0}


Expression = Value | Rate | Ratio | SlowShare | Least | Quantile | Absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An alert: a condition that must last before the alert fires, and must be gone for a while before it is resolved."""

    name: str
    expression: Expression
    threshold: float
    compare: Compare = ">"
    for_s: float = 0.0
    """How long the condition must hold before the alert fires; Prometheus' ``for``."""
    keep_firing_for_s: float = 0.0
    """How long the condition must be gone before the alert is resolved; Prometheus' ``keep_firing_for``."""
    severity: Severity = "ticket"
    summary: str = ""

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise InvalidSpec(
                gettext("{name} is no name of a rule.").format(name=repr(self.name)),
                remedy=gettext("Use letters, digits and underscores."),
            )
        if self.compare not in COMPARES:
            raise InvalidSpec(
                gettext("{compare} is no comparison.").format(compare=repr(self.compare)),
                remedy=gettext("Choose from: {names}.").format(names=", ".join(COMPARES)),
            )
        if not isfinite(self.threshold) or self.for_s < 0 or self.keep_firing_for_s < 0:
            raise InvalidSpec(
                gettext("Rule {name} has a threshold that is not finite, or a negative duration.").format(
                    name=self.name
                ),
                remedy=gettext("Give a finite threshold, and durations of 0 or more."),
            )

    def promql(self) -> str:
        """Return the condition in PromQL."""
        return f"{self.expression.promql()} {self.compare} {self.threshold!r}"

    def holding(self, store: SeriesStore, at_s: float) -> dict[Labels, float]:
        """Return the values that meet the condition, by labels."""
        meets = COMPARES[self.compare]
        return {
            labels: value for labels, value in self.expression.at(store, at_s).items() if meets(value, self.threshold)
        }


def rules_yaml(rules: Sequence[Rule], *, group: str = "workbench", interval_s: float = 15.0) -> str:
    """Return a rule file for Prometheus; JSON is YAML, so no writer of YAML is needed."""
    rows = []
    for rule in rules:
        row: dict[str, object] = {"alert": rule.name, "expr": rule.promql(), "labels": {"severity": rule.severity}}
        if rule.for_s:
            row["for"] = shown_seconds(rule.for_s)
        if rule.keep_firing_for_s:
            row["keep_firing_for"] = shown_seconds(rule.keep_firing_for_s)
        if rule.summary:
            row["annotations"] = {"summary": rule.summary}
        rows.append(row)
    return json.dumps(
        {"groups": [{"name": group, "interval": shown_seconds(interval_s), "rules": rows}]},
        indent=1,
        ensure_ascii=False,
    )
