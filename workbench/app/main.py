"""The command ``workbench``: the commands of all questions, in groups."""

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Annotated

import typer
from typer.core import TyperGroup

from workbench.app import claims, jobs, lab, runs, sharing
from workbench.app.catalogue import devices, models, prices
from workbench.app.examination import MARKS, examine_all
from workbench.catalog.paths import workbench_home
from workbench.catalog.tables import Question, questions
from workbench.interface.command import AsJson, print_table
from workbench.interface.readable import out

MODULES: Mapping[str, tuple[str, ...]] = {
    "engines": ("engines", "app.load"),
    "quantization": (
        "quantization",
        "quantization.sensitivity",
        "quantization.plan_damage",
        "quantization.checkpoint",
        "quantization.evaluation",
        "quantization.serving_speed",
    ),
    "parallelism": ("parallelism", "parallelism.estimate", "parallelism.simulate", "parallelism.calibrate"),
    "utilization": ("utilization", "utilization.batch_size", "utilization.techniques", "utilization.served"),
    "long_context": ("long_context", "long_context.attention", "long_context.quality", "long_context.ring_attention"),
    "surge": ("surge", "surge.scaling", "surge.standby", "app.gateway"),
    "monitoring": ("monitoring",),
    "cost": ("cost",),
    "security": ("security",),
    "rollout": ("rollout", "rollout.odds", "rollout.release"),
    "latency": ("latency", "latency.faults"),
    "multimodal": ("multimodal", "multimodal.tokens", "multimodal.fusion"),
    "edge": ("edge", "edge.encoders"),
    "tuning": (
        "tuning",
        "tuning.speculation",
        "tuning.speculation_estimate",
        "tuning.offload",
        "tuning.split",
        "tuning.adapters",
        "tuning.adapter_memory",
        "tuning.structured",
        "tuning.decision",
    ),
}
"""Folders of ``questions``, and modules of this room, whose ``COMMANDS`` belong to a question; its main command comes first."""
GROUPS = {
    "engines": "Install, compare, list and stop serving engines.",
    "images": "Count, price and measure images in prompts.",
}
STORED = "Stored runs and this machine"
CATALOGUE = "Devices, models and prices"


class _InOrder(TyperGroup):
    """Lists commands as they are registered below, groups among the others."""

    def list_commands(self, ctx: object) -> list[str]:  # noqa: ARG002
        """Return the names of the commands, those of the first question first."""
        return [
            *dict.fromkeys(word for _, commands in _commands_by_question() for word, _, _ in commands),
            *STORED_NAMES,
        ]


app = typer.Typer(help="Deployment questions about language models, answered by measurement.", cls=_InOrder)


def _version(value: bool) -> None:
    if value:
        print(importlib.metadata.version("inference-workbench"))
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    _is_version_asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        _print_questions()


def _print_questions() -> None:
    """Print the fourteen questions, each with its notebook and its main command, and where to start."""
    by_title = dict(_commands_by_question())
    rows = []
    for question in questions():
        group, name, _ = by_title[_title(question)][0]
        rows.append((_title(question), question.notebook, f"workbench {name if group == name else f'{group} {name}'}"))
    print_table(("question", "notebook", "main command"), rows)
    out.print("Start with `workbench doctor` (what this machine has) or `workbench lab` (the notebooks in JupyterLab).")
    out.print("`workbench COMMAND --help` explains a command, `workbench --help` lists all of them by question.")


@app.command(rich_help_panel=STORED)
def doctor(as_json: AsJson = False) -> None:
    """List GPUs, engines, versions and every problem with its remedy."""
    findings = examine_all(workbench_home())
    if as_json:
        keys = ("topic", "state", "value", "remedy")
        print(json.dumps([{k: getattr(f, k) for k in keys} for f in findings], indent=1))
        return
    print_table(("", "what", "value", "remedy"), ((MARKS[f.state], f.topic, f.value, f.remedy) for f in findings))


STORED_NAMES = ("devices", "models", "prices", "claims", "doctor", "lab", "show", "export", "runs", "jobs")
Command = tuple[str, str, Callable[..., None]]
"""Word that ``workbench --help`` lists, name of the command, and the function; the word of a command without a group is its name."""


def _title(question: Question) -> str:
    return f"{question.number}. {question.title}"


@cache
def _commands_by_question() -> tuple[tuple[str, tuple[Command, ...]], ...]:
    """Return the commands of each question by its title; a command's name is that of its spec or of its function."""
    return tuple(
        (_title(question), tuple(_command(f) for place in MODULES[question.slug] for f in _functions(place)))
        for question in questions()
    )


def _functions(place: str) -> tuple[Callable[..., None], ...]:
    name = f"workbench.{place}" if place.startswith("app.") else f"workbench.questions.{place}.command"
    return import_module(name).COMMANDS  # type: ignore[no-any-return]


def _command(function: Callable[..., None]) -> Command:
    *group, name = str(getattr(function, "words", function.__name__.replace("_", "-"))).split()
    return (group[0] if group else name), name, function


def _add_all() -> None:
    """Add each command to the program, or to its group where its name has two words."""
    groups: dict[str, typer.Typer] = {}
    for title, commands in _commands_by_question():
        for word, name, function in commands:
            if word in GROUPS and word not in groups:
                groups[word] = typer.Typer(help=GROUPS[word], no_args_is_help=True)
                app.add_typer(groups[word], name=word, rich_help_panel=title)
            if word in GROUPS:
                groups[word].command(name)(function)
            else:
                app.command(name, rich_help_panel=title)(function)
    app.add_typer(devices.app, name="devices", rich_help_panel=CATALOGUE)
    app.add_typer(models.app, name="models", rich_help_panel=CATALOGUE)
    app.add_typer(prices.app, name="prices", rich_help_panel=CATALOGUE)
    for function in (claims.claims, lab.lab, sharing.show, sharing.export):
        app.command(rich_help_panel=STORED)(function)
    app.add_typer(runs.app, name="runs", rich_help_panel=STORED)
    app.add_typer(jobs.app, name="jobs", rich_help_panel=STORED)


_add_all()


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="workbench")
