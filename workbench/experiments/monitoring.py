"""Watching a server: scrape, look at the rules, tell each alert once when it fires and once when it is over."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from workbench.alerts.defaults import gold_rule, vllm_rules
from workbench.alerts.evaluator import AlertState, Evaluator, Event
from workbench.alerts.notify import Message
from workbench.alerts.rules import Rule
from workbench.alerts.scrape import Scraper
from workbench.alerts.series import SeriesStore
from workbench.core.errors import InvalidSpec, WorkbenchError
from workbench.core.monitoring import MonitoringSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.engines.http import HttpEngine
from workbench.load.gold_set import GoldSchedule, gold_questions
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "monitoring"
GOLD_PREFIX = "workbench_gold_"
KEPT_S = 3 * 86400.0 + 3600.0  # the longest window of the rules, and an hour
CALL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at a server."""

    at_s: float
    events: Sequence[Event]
    firing: Sequence[str]
    """Names of the rules that fire now."""
    pending: Sequence[str]
    """Names of the rules whose condition holds, but not for long enough yet."""
    values: Mapping[str, float]
    """Of the rules' expressions, by name, the greatest where there are several; without those that say nothing."""
    problem: str | None
    """Why the page could not be read."""


def watch(
    url: str,
    rules: Sequence[Rule],
    *,
    interval_s: float = 15.0,
    gold: GoldSchedule | None = None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Look]:
    """Look at a server for ever, at a steady interval; stop by ending the iteration.

    Args:
        url: Base URL, or that of the page.
        rules: To look at.
        interval_s: Between looks.
        gold: Questions with known answers whose counts the rules can read.
        clock: Seconds that never go back.
        wait: Sleeps so long.
    """
    if interval_s <= 0:
        raise InvalidSpec(f"A look every {interval_s} s.", remedy="Give a number above zero.")
    scraper, store, evaluator = Scraper(url), SeriesStore(), Evaluator(rules)
    due = clock()
    while True:
        now = clock()
        problem = scraper.scrape(store, now)
        for name, count in (gold.counts() if gold is not None else {}).items():
            store.add(f"{GOLD_PREFIX}{name}_total", {}, now, float(count))
        yield looked(evaluator, store, now, problem=problem)
        store.drop_before(now - KEPT_S)
        due = max(due + interval_s, clock())
        wait(max(0.0, due - clock()))


def looked(evaluator: Evaluator, store: SeriesStore, at_s: float, *, problem: str | None = None) -> Look:
    """Look at all rules at a moment."""
    events = evaluator.evaluate(store, at_s)
    values = {}
    for rule in evaluator.rules:
        known = [v for v in rule.expression.at(store, at_s).values() if isfinite(v)]
        if known:
            values[rule.name] = max(known)
    by_state: dict[AlertState, list[str]] = {AlertState.FIRING: [], AlertState.PENDING: []}
    for alert in evaluator.alerts.values():
        by_state[alert.state].append(alert.rule.name)
    return Look(
        at_s=at_s,
        events=events,
        firing=sorted(set(by_state[AlertState.FIRING])),
        pending=sorted(set(by_state[AlertState.PENDING])),
        values=values,
        problem=problem,
    )


def rules_of(spec: MonitoringSpec) -> list[Rule]:
    """The rules that a watch looks at."""
    rules = vllm_rules(ttft_bound=spec.ttft, objective=spec.objective, patience_s=spec.patience_s, prefix=spec.prefix)
    return [*rules, gold_rule(every_s=spec.gold_every_s, prefix=GOLD_PREFIX)] if spec.gold_every_s else rules


@contextmanager
def gold_of(spec: MonitoringSpec) -> Iterator[GoldSchedule | None]:
    """The gold set of a watch, asked until the block ends; None when nothing is asked.

    Raises ``WorkbenchError`` for a file that cannot be read or a server that lists no model.
    """
    if not spec.gold_every_s:
        yield None
        return
    questions = gold_questions(Path(spec.gold) if spec.gold else None)
    model = HttpEngine(spec.url, "").models()[0]
    with GoldSchedule(spec.url, model, questions, every_s=spec.gold_every_s) as schedule:
        yield schedule


def run(spec: MonitoringSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: MonitoringSpec, _folder: Path) -> Iterator[Progress | Run]:
    """Progress with every look, and last the run: a row for each event, and what was seen in ``samples``."""
    started_at = utc_now()
    looks: list[Mapping[str, Any]] = []
    events: list[Mapping[str, Any]] = []
    began = time.monotonic()
    with gold_of(spec) as gold:
        for look in watch(spec.url, rules_of(spec), interval_s=spec.interval_s, gold=gold):
            at = look.at_s - began
            looks.append(look_row(look, origin_s=began))
            events += [event_row(e, url=spec.url) | {"at_s": round(at, 3)} for e in look.events]
            firing = f"firing: {', '.join(look.firing)}" if look.firing else "nothing fires"
            yield Progress(
                step=look.problem or firing,
                done=min(at, spec.duration_s),
                total=spec.duration_s,
                result={"looks": looks[-1:]},
            )
            if at + spec.interval_s > spec.duration_s:
                break
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(chosen_device("auto")),
        started_at=started_at,
        finished_at=utc_now(),
        seed=0,
        results=events,
        samples={"looks": looks},
        failures=[],
    )


def look_row(look: Look, *, origin_s: float) -> dict[str, Any]:
    """A look as it is kept."""
    return {
        "at_s": round(look.at_s - origin_s, 3),
        "firing": list(look.firing),
        "pending": list(look.pending),
        "values": {name: float(f"{value:.6g}") for name, value in look.values.items()},
        "problem": look.problem,
    }


def message_row(message: Message, *, url: str) -> dict[str, Any]:
    """A message about a group of alerts, for a webhook or a command."""
    return {
        "group": dict(message.group),
        "firing": [event_row(e, url=url) for e in message.firing],
        "resolved": [event_row(e, url=url) for e in message.resolved],
        "server": url,
    }


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


def _about(row: Mapping[str, Any]) -> str:
    return str(row["rule"]) if "rule" in row else ", ".join(e["rule"] for e in (*row["firing"], *row["resolved"]))


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
            f"The webhook did not take {_about(row)}: {error}.", remedy="Check its address; the alert is in the log."
        ) from error


def call(row: Mapping[str, Any], *, command: Sequence[str]) -> None:
    """Run a command with an event as JSON on its standard input; raises ``WorkbenchError`` when it fails."""
    try:
        subprocess.run(list(command), input=json.dumps(row), text=True, timeout=CALL_S, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise WorkbenchError(
            f"The command for {_about(row)} failed: {error}.", remedy="Run it by hand; the alert is in the log."
        ) from error
