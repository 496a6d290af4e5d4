"""Commands that watch a server, and that write and check rules and dashboards."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from workbench.alerts.dashboard import dashboard
from workbench.alerts.defaults import vllm_rules
from workbench.alerts.lint import expressions_in, missing_in, sample_names
from workbench.alerts.rules import rules_yaml
from workbench.alerts.scrape import Scraper
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors, err
from workbench.core.errors import InvalidSpec, NotAvailable, WorkbenchError
from workbench.core.runs import utc_now
from workbench.experiments.monitoring import call, event_row, post, watch

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
    prefix: Prefix = "vllm:",
    webhook: Annotated[str | None, typer.Option(help="Gets each event as JSON.")] = None,
    run: Annotated[str | None, typer.Option(help="Command that gets each event as JSON on standard input.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch a server: print alerts when they begin to fire and when they are over; an outage is one too."""
    with ReadableErrors():
        rules = vllm_rules(ttft_bound=ttft, objective=objective, prefix=prefix)
        problem: str | None = None
        for n, look in enumerate(watch(url, rules, interval_s=interval), start=1):
            if look.problem != problem:
                problem = look.problem
                err.print(f"{utc_now()} {problem or 'the page can be read again'}", highlight=False)
            for event in look.events:
                row = event_row(event, url=url) | {"at": utc_now()}
                if as_json:
                    print(json.dumps(row), flush=True)
                else:
                    mark = {"firing": "✗", "resolved": "✓"}[row["state"]]
                    text = f"{row['at']} {mark} {row['rule']} {row['state']} ({row['value']:.3g}): {row['summary']}"
                    out.print(text, highlight=False)
                _tell(row, webhook=webhook, command=run)
            if n == looks:
                if not as_json:
                    out.print(f"firing: {', '.join(look.firing) or 'nothing'}", highlight=False)
                return


def _tell(row: dict[str, Any], *, webhook: str | None, command: str | None) -> None:
    """A callback that fails is told and does not end the watch."""
    try:
        if webhook:
            post(row, webhook=webhook)
        if command:
            call(row, command=shlex.split(command))
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
