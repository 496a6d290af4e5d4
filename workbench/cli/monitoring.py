"""Commands that watch a server, and that write and check rules and dashboards."""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.alerts.dashboard import dashboard
from workbench.alerts.defaults import vllm_rules
from workbench.alerts.lint import expressions_in, missing_in, sample_names
from workbench.alerts.notify import Notifier, Silence, silent
from workbench.alerts.page import AlertPage
from workbench.alerts.rules import Rule, rules_yaml
from workbench.alerts.scrape import Scraper
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors, err
from workbench.core.errors import InvalidSpec, NotAvailable, WorkbenchError
from workbench.core.monitoring import MonitoringSpec
from workbench.core.runs import utc_now
from workbench.experiments.monitoring import Look, call, event_row, gold_of, message_row, post, rules_of, watch

out = Console()
TtftBound = Annotated[str, typer.Option(help="Promise on first tokens, a bound of vLLM's histogram (seconds).")]
Objective = Annotated[float, typer.Option(help="Share of requests that must keep it.")]
Prefix = Annotated[str, typer.Option(help="Of the metrics' names.")]


def monitor(
    url: Annotated[str, typer.Argument(help="Base URL of a server with /metrics.")],
    interval: Annotated[float, typer.Option(help="Seconds between looks.")] = 15.0,
    looks: Annotated[int | None, typer.Option(help="Stop after so many; for ever if left out.")] = None,
    ttft: TtftBound = "0.5",
    objective: Objective = 0.99,
    patience: Annotated[float, typer.Option(help="Seconds that a condition lasts before it is told.")] = 120.0,
    prefix: Prefix = "vllm:",
    gold_every: Annotated[float, typer.Option(help="Seconds between rounds of the gold set; 0: none.")] = 0.0,
    gold: Annotated[str | None, typer.Option(help="Its file: JSON lines with prompt and pattern.")] = None,
    serve: Annotated[int | None, typer.Option(help="Port of the watch's own /metrics; 0: any.")] = None,
    silence: Annotated[
        list[str] | None, typer.Option(help="Not told: 'alertname=Requests*,severity=ticket@3600' (seconds from now).")
    ] = None,
    group_by: Annotated[
        str, typer.Option(help="Labels (alertname, severity, model_name, ...): callbacks get one message per group.")
    ] = "",
    group_wait: Annotated[float, typer.Option(help="Seconds that a group's first message waits for company.")] = 30.0,
    repeat: Annotated[float | None, typer.Option(help="Tell a group again that still fires, seconds.")] = None,
    webhook: Annotated[str | None, typer.Option(help="Gets each event, or message of a group, as JSON.")] = None,
    run: Annotated[str | None, typer.Option(help="Command that gets the same on standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a server: print alerts when they begin to fire and when they are over; an outage is one too."""
    with ReadableErrors():
        spec = MonitoringSpec(
            url=url,
            interval_s=interval,
            ttft=ttft,
            objective=objective,
            patience_s=patience,
            prefix=prefix,
            gold=gold,
            gold_every_s=gold_every,
        )
        teller = _Teller(
            url,
            silences=[_silence(text) for text in silence or []],
            group_by=[part.strip() for part in group_by.split(",") if part.strip()],
            group_wait_s=group_wait,
            repeat_s=repeat,
            webhook=webhook,
            command=run,
            as_json=as_json,
        )
        made = rules_of(spec)
        with gold_of(spec) as asked, _page(made, serve) as page:
            if page is not None:
                err.print(f"its own metrics: http://127.0.0.1:{page.port}/metrics", highlight=False)
            for n, look in enumerate(watch(url, made, interval_s=interval, gold=asked), start=1):
                if page is not None:
                    page.show(
                        firing=look.firing,
                        pending=look.pending,
                        values=look.values,
                        is_up=look.problem is None,
                        gold=asked.counts() if asked is not None else None,
                    )
                teller.tell(look)
                if n == looks:
                    if not as_json:
                        out.print(f"firing: {', '.join(look.firing) or 'nothing'}", highlight=False)
                    return


@contextmanager
def _page(made: list[Rule], port: int | None) -> Iterator[AlertPage | None]:
    if port is None:
        yield None
        return
    page = AlertPage(made, port)
    try:
        yield page
    finally:
        page.close()


def _silence(text: str) -> Silence:
    """``label=pattern,...@seconds``; raises ``InvalidSpec`` for anything else."""
    wanted, _, seconds = text.rpartition("@")
    try:
        matchers = dict(part.split("=", 1) for part in wanted.split(","))
        lasts = float(seconds)
    except ValueError as error:
        raise InvalidSpec(f"{text!r} is no silence.", remedy="Write alertname=RequestsWait@3600.") from error
    return Silence(matchers={k.strip(): v.strip() for k, v in matchers.items()}, until_s=time.monotonic() + lasts)


class _Teller:
    """Prints events, and hands them or messages of groups to callbacks; a callback that fails does not end the watch."""

    def __init__(
        self,
        url: str,
        *,
        silences: list[Silence],
        group_by: list[str],
        group_wait_s: float,
        repeat_s: float | None,
        webhook: str | None,
        command: str | None,
        as_json: bool,
    ) -> None:
        self._url, self._silences, self._as_json = url, silences, as_json
        self._webhook, self._command = webhook, command
        self._notifier: Notifier | None = None
        if group_by or repeat_s is not None:
            by = group_by or ("severity",)
            self._notifier = Notifier(group_by=by, group_wait_s=group_wait_s, repeat_s=repeat_s)
            self._notifier.silences = silences
        self._problem: str | None = None

    def tell(self, look: Look) -> None:
        """What is new at a look."""
        if look.problem != self._problem:
            self._problem = look.problem
            err.print(f"{utc_now()} {look.problem or 'the page can be read again'}", highlight=False)
        for event in look.events:
            row = event_row(event, url=self._url) | {"at": utc_now()}
            is_silent = silent(event, self._silences, look.at_s)
            self._print(row | {"silenced": is_silent})
            if self._notifier is None and not is_silent:
                self._call(row)
        if self._notifier is not None:
            for message in self._notifier.take(look.events, look.at_s):
                self._call(message_row(message, url=self._url) | {"at": utc_now()})

    def _print(self, row: dict[str, Any]) -> None:
        if self._as_json:
            print(json.dumps(row), flush=True)
            return
        mark = {"firing": "✗", "resolved": "✓"}[row["state"]]
        hush = " (silenced)" if row["silenced"] else ""
        text = f"{row['at']} {mark} {row['rule']} {row['state']}{hush} ({row['value']:.3g}): {row['summary']}"
        out.print(text, highlight=False)

    def _call(self, row: dict[str, Any]) -> None:
        try:
            if self._webhook:
                post(row, webhook=self._webhook)
            if self._command:
                call(row, command=shlex.split(self._command))
        except WorkbenchError as error:
            err.print(str(error), highlight=False)


def rules(
    target: Annotated[str, typer.Option("--for", help="prometheus or grafana.")] = "prometheus",
    ttft: TtftBound = "0.5",
    objective: Objective = 0.99,
    prefix: Prefix = "vllm:",
) -> None:
    """Print the rules of `workbench monitor` as a rule file for Prometheus or as a dashboard for Grafana."""
    with ReadableErrors():
        made = vllm_rules(ttft_bound=ttft, objective=objective, prefix=prefix)
        if target not in {"prometheus", "grafana"}:
            raise InvalidSpec(f"There is no form for {target!r}.", remedy="Choose prometheus or grafana.")
        print(rules_yaml(made) if target == "prometheus" else json.dumps(dashboard(made), indent=1))


def lint_metrics(
    file: Annotated[str, typer.Argument(help="Dashboard (JSON) or rule file (YAML).")],
    url: Annotated[str, typer.Argument(help="Base URL of a server with /metrics.")],
    as_json: AsJson = False,
) -> None:
    """Check a dashboard or a rule file against a live server: and name the metrics that do not exist."""
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
            table = Table("panel or rule", "metrics that the server does not have")
            for where, lacking in missing.items():
                table.add_row(where, ", ".join(lacking))
            if missing:
                out.print(table)
            out.print(f"{n_expressions} expressions, {len(missing)} of their panels or rules read what is not there.")
    if missing:
        raise typer.Exit(1)


def _document(file: Path) -> Any:
    import yaml

    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidSpec(f"{file} cannot be read: {error}.", remedy="Name a JSON or YAML file.") from error
    if not list(expressions_in(document)):
        raise InvalidSpec(f"{file} has no expressions.", remedy="Name a Grafana dashboard or a Prometheus rule file.")
    return document
