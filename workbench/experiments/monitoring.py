"""Watching a server: scrape, look at the rules, tell each alert once when it fires and once when it is over."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.alerts.evaluator import Evaluator, Event
from workbench.alerts.rules import Rule
from workbench.alerts.scrape import Scraper
from workbench.alerts.series import SeriesStore
from workbench.core.checks import require_positive
from workbench.core.errors import WorkbenchError

KEPT_S = 3 * 86400.0 + 3600.0  # the longest window of the rules, and an hour
CALL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at a server."""

    at_s: float
    events: Sequence[Event]
    firing: Sequence[str]
    """Names of the rules that fire now."""
    problem: str | None
    """Why the page could not be read."""


def watch(
    url: str,
    rules: Sequence[Rule],
    *,
    interval_s: float = 15.0,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Look]:
    """Look at a server for ever, at a steady interval; stop by ending the iteration.

    Args:
        url: Base URL, or that of the page.
        rules: To look at.
        interval_s: Between looks.
        clock: Seconds that never go back.
        wait: Sleeps so long.
    """
    watching = _Watching(interval_s=interval_s)
    scraper, store, evaluator = Scraper(url), SeriesStore(), Evaluator(rules)
    due = clock()
    while True:
        now = clock()
        problem = scraper.scrape(store, now)
        events = evaluator.evaluate(store, now)
        store.drop_before(now - KEPT_S)
        yield Look(at_s=now, events=events, firing=[a.rule.name for a in evaluator.firing], problem=problem)
        due = max(due + watching.interval_s, clock())
        wait(max(0.0, due - clock()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watching:
    interval_s: float

    def __post_init__(self) -> None:
        require_positive(self, "interval_s")


def event_row(event: Event, *, url: str) -> dict[str, Any]:
    """An event for a log, a webhook or a command."""
    return {
        "rule": event.rule,
        "state": str(event.state),
        "severity": event.severity,
        "value": event.value,
        "labels": dict(event.labels),
        "summary": event.summary,
        "server": url,
    }


def post(row: Mapping[str, Any], *, webhook: str) -> None:
    """Send an event as JSON; raises ``WorkbenchError`` when nobody takes it."""
    request = urllib.request.Request(  # noqa: S310 - the reader's own address
        webhook, data=json.dumps(row).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=CALL_S):  # noqa: S310 - likewise
            return
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise WorkbenchError(
            f"The webhook did not take {row['rule']}: {error}.", remedy="Check its address; the alert is in the log."
        ) from error


def call(row: Mapping[str, Any], *, command: Sequence[str]) -> None:
    """Run a command with an event as JSON on its standard input; raises ``WorkbenchError`` when it fails."""
    try:
        subprocess.run(list(command), input=json.dumps(row), text=True, timeout=CALL_S, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise WorkbenchError(
            f"The command for {row['rule']} failed: {error}.", remedy="Run it by hand; the alert is in the log."
        ) from error
