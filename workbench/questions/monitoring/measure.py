"""A watch over a server: read its metrics, evaluate the rules, and report each alert once when it fires and once when it is resolved."""

import hashlib
import http.client
import json
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path

from workbench.alerts.defaults import gold_rule, vllm_rules
from workbench.alerts.evaluator import AlertState, Evaluator
from workbench.alerts.lint import metric_names
from workbench.alerts.outbox import Notice, Outbox, Refused
from workbench.alerts.rules import Rule
from workbench.alerts.scrape import Scraper
from workbench.alerts.series import SeriesStore
from workbench.core.errors import WorkbenchError, system_message
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.rows import plain
from workbench.engines.http import HttpEngine
from workbench.load.gold_set import GoldSchedule, gold_questions
from workbench.measuring.envelope import Record
from workbench.questions.monitoring.rows import AlertEvent, Evaluation, GroupMessage, LiveEvaluation, MonitoringSamples
from workbench.questions.monitoring.spec import AUTO, MonitoringSpec, WatchSpec
from workbench.telemetry.metrics_source import PREFIXES

GOLD_PREFIX = "workbench_gold_"
KEPT_S = 3 * 86400.0 + 3600.0  # the longest window of the rules, and an hour
CALL_S = 10.0
REFUSING = frozenset({400, 401, 403, 404, 405, 410, 413, 415, 422})
"""Statuses of a webhook that will not accept the same notification later."""


def prefix_of(spec: WatchSpec, evaluations: Sequence[Evaluation]) -> str:
    """Return the prefix of a watch's metrics: that of its spec, else that of its last evaluation, else vLLM's."""
    return spec.prefix if spec.prefix != AUTO else evaluations[-1].prefix if evaluations else PREFIXES[0]


def rules_of(spec: WatchSpec, *, prefix: str | None = None) -> list[Rule]:
    """Return the rules that a watch evaluates, over metrics of a prefix; None: the prefix that is known before the first evaluation."""
    prefix = prefix or prefix_of(spec, ())
    rules = vllm_rules(ttft_bound=spec.ttft, objective=spec.objective, patience_s=spec.patience_s, prefix=prefix)
    return [*rules, gold_rule(every_s=spec.gold_every_s, prefix=GOLD_PREFIX)] if spec.gold_every_s else rules


def prefix_on(page: Collection[str], spec: WatchSpec) -> str | None:
    """Return the prefix of a page's metrics; None when the page has no metric that the rules of this watch read.

    Args:
        page: Names of the metrics on the page.
        spec: The watch, which may name the prefix.
    """
    for prefix in PREFIXES if spec.prefix == AUTO else (spec.prefix,):
        known = set().union(*(metric_names(rule.promql()) for rule in rules_of(spec, prefix=prefix)))
        if any(name in known and name.startswith(prefix) for name in page):
            return prefix
    return None


def watch(
    spec: WatchSpec,
    *,
    gold: GoldSchedule | None = None,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[LiveEvaluation]:
    """Yield evaluations of the rules over a server without end, at a steady interval; stop by ending the iteration.

    A page that can be read but has none of the metrics is a separate problem, not an outage: the problem names the prefixes that were tried.

    Args:
        spec: The server, the rules and the interval.
        gold: Questions with known answers; the rules read their counts.
        clock: Monotonic clock in seconds.
        wait: Function that sleeps for some seconds.
    """
    scraper, store, evaluator = Scraper(spec.url), SeriesStore(), Evaluator(rules_of(spec))
    prefix = prefix_of(spec, ())
    due = clock()
    while True:
        now = clock()
        problem = scraper.scrape(store, now)
        is_up = problem is None
        shown = prefix_on(scraper.names, spec) if is_up else prefix
        if shown is None:
            prefixes = " or ".join(PREFIXES) if spec.prefix == AUTO else spec.prefix
            problem = f"{scraper.url} was read, but has no known metrics that begin with {prefixes}; give their prefix"
        elif shown != prefix:
            prefix = shown
            evaluator.rules = rules_of(spec, prefix=prefix)
        for name, count in (gold.counts() if gold is not None else {}).items():
            store.add(f"{GOLD_PREFIX}{name}_total", {}, now, float(count))
        yield replace(evaluation_at(evaluator, store, now), problem=problem, is_up=is_up, prefix=prefix)
        store.drop_before(now - KEPT_S)
        due = max(due + spec.interval_s, clock())
        wait(max(0.0, due - clock()))


def evaluation_at(evaluator: Evaluator, store: SeriesStore, at_s: float) -> LiveEvaluation:
    """Return the evaluation of all rules at a time."""
    events = evaluator.evaluate(store, at_s)
    finite = {r.name: [*filter(isfinite, r.expression.at(store, at_s).values())] for r in evaluator.rules}
    values = {name: max(numbers) for name, numbers in finite.items() if numbers}
    firing, pending = (
        sorted({alert.rule.name for alert in evaluator.alerts.values() if alert.state is state})
        for state in (AlertState.FIRING, AlertState.PENDING)
    )
    return LiveEvaluation(at_s=at_s, events=events, firing=firing, pending=pending, values=values)


@contextmanager
def gold_of(spec: WatchSpec) -> Iterator[GoldSchedule | None]:
    """Yield the gold set of a watch, which is asked until the block ends; None when the watch has none.

    Raises ``WorkbenchError`` for a file that cannot be read or a server that lists no model.
    """
    if not spec.gold_every_s:
        yield None
        return
    questions = gold_questions(Path(spec.gold) if spec.gold else None)
    model = HttpEngine(spec.url, "").models()[0]
    with GoldSchedule(spec.url, model, questions, every_s=spec.gold_every_s) as schedule:
        yield schedule


def measure(spec: MonitoringSpec, record: Record) -> Iterator[Progress]:
    """Yield progress with every evaluation; the record gets a row for each event, and the evaluations as samples."""
    evaluations: list[Evaluation] = []
    record.samples = MonitoringSamples(evaluations=evaluations)
    began = time.monotonic()
    with gold_of(spec) as gold:
        for evaluation in watch(spec, gold=gold):
            at = evaluation.at_s - began
            evaluations.append(evaluation.kept(origin_s=began))
            record.rows += [AlertEvent.of(e, server=spec.url, origin_s=began) for e in evaluation.events]
            firing = f"firing: {', '.join(evaluation.firing)}" if evaluation.firing else "no rule fires"
            yield Progress(
                step=evaluation.problem or firing,
                done=min(at, spec.duration_s),
                total=spec.duration_s,
                result=evaluations[-1],
            )
            if at + spec.interval_s > spec.duration_s:
                break


def notice_of(event: AlertEvent | GroupMessage) -> Notice:
    """Return the notification of an event, or of a message of a group."""
    return Notice(json.dumps(plain(event)), event.about)


def post(notice: Notice, *, webhook: str) -> None:
    """Send a notification to a webhook; raises ``WorkbenchError`` when it is not accepted, ``Refused`` where it would never be."""
    request = urllib.request.Request(  # noqa: S310 - the reader's own address
        webhook, data=notice.text.encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=CALL_S):  # noqa: S310 - likewise
            return
    except (OSError, urllib.error.URLError, ValueError, http.client.HTTPException) as error:
        is_refused = isinstance(error, urllib.error.HTTPError) and error.code in REFUSING
        raise (Refused if is_refused else WorkbenchError)(
            gettext("The webhook did not accept {about}: {error}.").format(
                about=notice.about, error=system_message(error)
            ),
            remedy=gettext("Check its address; the alert is in the log."),
        ) from error


def call(notice: Notice, *, command: Sequence[str]) -> None:
    """Run a command with a notification on its standard input; raises ``WorkbenchError`` when it fails."""
    try:
        subprocess.run(list(command), input=notice.text, text=True, timeout=CALL_S, check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise WorkbenchError(
            gettext("The command for {about} failed: {error}.").format(about=notice.about, error=system_message(error)),
            remedy=gettext("Run the command in a shell; the alert is in the log."),
        ) from error


@contextmanager
def outboxes(
    folder: Path, server: str, *, webhook: str | None, command: Sequence[str], report: Callable[[str], None]
) -> Iterator[list[Outbox]]:
    """Yield an outbox for each receiver of a server's notifications, which delivers until the block ends.

    Args:
        folder: Folder in which notifications wait, also from one watch of the same server to the next.
        server: The server's URL.
        webhook: URL that receives them; None: none does.
        command: Command that receives them; empty: none does.
        report: Is called with what is wrong.
    """
    with ExitStack() as stack:
        boxes = []
        for receiver, deliver in (
            (webhook, partial(post, webhook=webhook or "")),
            (shlex.join(command), partial(call, command=command)),
        ):
            if receiver:
                name = hashlib.sha256(f"{server}\n{receiver}".encode()).hexdigest()[:16]
                boxes.append(stack.enter_context(Outbox(folder / name, deliver, report=report)))
        yield boxes
