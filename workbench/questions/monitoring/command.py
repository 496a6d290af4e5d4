"""Commands that watch a server, and that write and check rules and dashboards."""

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from workbench.alerts.dashboard import dashboard
from workbench.alerts.defaults import vllm_rules
from workbench.alerts.evaluator import AlertState
from workbench.alerts.lint import documents_in, expressions_in, missing_in, sample_names
from workbench.alerts.notify import Notifier, Silence, silent
from workbench.alerts.outbox import Outbox
from workbench.alerts.page import AlertPage
from workbench.alerts.rules import Rule, rules_yaml
from workbench.alerts.scrape import Scraper
from workbench.catalog.paths import workbench_home
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import utc_now
from workbench.interface.command import AsJson
from workbench.interface.knobs import asks_for
from workbench.interface.readable import ReadableErrors, err, out
from workbench.questions.monitoring.measure import gold_of, notice_of, outboxes, rules_of, watch
from workbench.questions.monitoring.rows import AlertEvent, GroupMessage
from workbench.questions.monitoring.spec import RulesSpec, WatchSpec


@asks_for(WatchSpec)
def monitor(
    spec: WatchSpec,
    *,
    evaluations: Annotated[
        int | None,
        typer.Option(help="Number of evaluations of the rules after which the watch ends; without end if left out."),
    ] = None,
    duration: Annotated[
        float | None, typer.Option(help="Seconds after which the watch ends; without end if left out.")
    ] = None,
    serve: Annotated[
        int | None, typer.Option(help="Port of a /metrics page with the watch's own alerts; 0 takes any free port.")
    ] = None,
    silence: Annotated[
        list[str] | None,
        typer.Option(
            help="Suppress notifications: 'alertname=Requests*,severity=ticket@3600' (label=pattern,...@seconds from now)."
        ),
    ] = None,
    group_by: Annotated[
        str,
        typer.Option(
            help="Labels (alertname, severity, model_name, ...) that form groups; callbacks get one message for each group."
        ),
    ] = "",
    group_wait: Annotated[
        float, typer.Option(help="Seconds that the first message of a group waits for more alerts.")
    ] = 30.0,
    repeat: Annotated[
        float | None,
        typer.Option(help="Seconds after which a group that still fires is sent again; never if left out."),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(
            help="URL that receives each event, or each message of a group, as JSON; retried until it is accepted, also by the next watch."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Command that receives each event, or each message of a group, as JSON on its standard input."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a server and print alerts when they fire and when they are resolved; an outage is an alert too."""
    silences = [_silence(text) for text in silence or []]
    notifier = None
    if group_by or repeat is not None:
        labels = [part.strip() for part in group_by.split(",") if part.strip()] or ["severity"]
        notifier = Notifier(group_by=labels, group_wait_s=group_wait, repeat_s=repeat)
        notifier.silences = silences
    command, problem, began = shlex.split(run or ""), None, time.monotonic()
    sending = outboxes(workbench_home() / "outbox", spec.url, webhook=webhook, command=command, report=_report)
    with gold_of(spec) as gold, _page(rules_of(spec), serve) as page, sending as boxes:
        for n, evaluation in enumerate(watch(spec, gold=gold), start=1):
            if page is not None:
                counts = gold.counts() if gold is not None else None
                page.show(
                    firing=evaluation.firing,
                    pending=evaluation.pending,
                    values=evaluation.values,
                    is_up=evaluation.is_up,
                    gold=counts,
                )
            if evaluation.problem != problem:
                problem = evaluation.problem
                err.print(f"{utc_now()} {problem or 'the metrics can be read again'}", highlight=False)
            for change in evaluation.events:
                suppressed = silent(change, silences, evaluation.at_s)
                event = AlertEvent.of(change, server=spec.url, origin_s=began, suppressed=suppressed)
                _print(event, as_json=as_json)
                if notifier is None and not suppressed:
                    _send(event, boxes)
            for message in notifier.take(evaluation.events, evaluation.at_s) if notifier is not None else ():
                _send(GroupMessage.of(message, server=spec.url, origin_s=began), boxes)
            if n == evaluations or (duration is not None and evaluation.at_s - began + spec.interval_s > duration):
                if not as_json:
                    out.print(f"firing: {', '.join(evaluation.firing) or 'no rule'}", highlight=False)
                return


def _report(problem: str) -> None:
    err.print(problem, highlight=False)


def _send(event: AlertEvent | GroupMessage, boxes: Sequence[Outbox]) -> None:
    for box in boxes:
        box.put(notice_of(event))


@contextmanager
def _page(rules: list[Rule], port: int | None) -> Iterator[AlertPage | None]:
    if port is None:
        yield None
        return
    page = AlertPage(rules, port)
    err.print(f"The watch serves its alerts at http://127.0.0.1:{page.port}/metrics", highlight=False)
    try:
        yield page
    finally:
        page.close()


def _silence(text: str) -> Silence:
    """Return the silence of a text ``label=pattern,...@seconds``; raises ``InvalidSpec`` for anything else."""
    pairs, _, seconds = text.rpartition("@")
    try:
        matchers = dict(part.split("=", 1) for part in pairs.split(","))
        duration_s = float(seconds)
    except ValueError as error:
        raise InvalidSpec(f"{text!r} is no silence.", remedy="Write alertname=RequestsWait@3600.") from error
    return Silence(matchers={k.strip(): v.strip() for k, v in matchers.items()}, until_s=time.monotonic() + duration_s)


def _print(event: AlertEvent, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(plain(event)), flush=True)
        return
    mark = "✗" if event.state is AlertState.FIRING else "✓"
    suppressed = " (suppressed)" if event.suppressed else ""
    text = f"{event.at} {mark} {event.rule} {event.state}{suppressed} ({event.value:.3g}): {event.summary}"
    out.print(text, highlight=False)


@asks_for(RulesSpec)
def rules(spec: RulesSpec) -> None:
    """Print the rules of `workbench monitor` as a rule file for Prometheus or a dashboard for Grafana."""
    alert_rules = vllm_rules(
        ttft_bound=spec.ttft, objective=spec.objective, patience_s=spec.patience_s, prefix=spec.prefix
    )
    print(rules_yaml(alert_rules) if spec.target == "prometheus" else json.dumps(dashboard(alert_rules), indent=1))


def lint_metrics(
    file: Annotated[
        str, typer.Argument(help="Grafana dashboard (JSON) or Prometheus rule file (YAML), also inside of a ConfigMap.")
    ],
    url: Annotated[str, typer.Argument(help="Base URL of a server with /metrics.")],
    as_json: AsJson = False,
) -> None:
    """Check a dashboard or a rule file against a live server, and print the metrics that the server lacks."""
    with ReadableErrors():
        document = _document(Path(file).expanduser())
        n_expressions = len(list(expressions_in(document)))
        try:
            names = sample_names(Scraper(url).page())
        except (OSError, ValueError) as error:
            raise NotAvailable(
                f"{url} cannot be read: {error}.", remedy="Start the server, or correct the URL."
            ) from error
    missing = missing_in(document, names)
    if as_json:
        print(json.dumps({"n_expressions": n_expressions, "n_metrics": len(names), "missing": missing}, indent=1))
    else:
        table = Table("panel or rule", "metrics that the server lacks")
        for where, lacking in missing.items():
            table.add_row(where, ", ".join(lacking))
        if missing:
            out.print(table)
        out.print(
            f"{n_expressions} expressions were checked; {len(missing)} panels or rules read metrics that the server lacks."
        )
    if missing:
        raise typer.Exit(1)


def _document(file: Path) -> object:
    try:
        documents = documents_in(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"{file} cannot be read: {error}.", remedy="Name a JSON or YAML file.") from error
    if not list(expressions_in(documents)):
        raise InvalidSpec(f"{file} has no expressions.", remedy="Name a Grafana dashboard or a Prometheus rule file.")
    return documents


COMMANDS = (monitor, rules, lint_metrics)
