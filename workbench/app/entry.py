"""Entry point of the console script: one command is started without importing the others."""

import sys
from importlib import import_module

import typer

from workbench.core.language import keep_english

PLACES = {
    "quantize": "questions.quantization.command",
    "sensitivity": "questions.quantization.sensitivity.command",
    "verify-plan": "questions.quantization.plan_damage.command",
    "checkpoints": "questions.quantization.checkpoint.command",
    "evaluate": "questions.quantization.evaluation.command",
    **dict.fromkeys(("serving-speed", "gemm"), "questions.quantization.serving_speed.command"),
    "plan": "questions.parallelism.command",
    "estimate": "questions.parallelism.estimate.command",
    "simulate": "questions.parallelism.simulate.command",
    "cost": "questions.cost.command",
    "encode": "questions.edge.encoders.command",
    "load": "app.load",
    "lab": "app.lab",
}
"""Module of a command, for those that are often asked again and again; all others are started from the whole program."""
SHOWING = ("lab", "show", "export")
"""Commands that write or open what readers look at, in their language; what all others print is English, for programs read it too."""


def main() -> None:
    """Start a command alone where its module is known, else the program with all of them."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word not in SHOWING:
        keep_english()
    if word not in PLACES:
        import_module("workbench.app.main").main()
        return
    program = typer.Typer(help="Deployment questions about language models, answered by measurement.")
    program.callback()(_nothing)
    for function in import_module(f"workbench.{PLACES[word]}").COMMANDS:
        program.command(str(getattr(function, "words", function.__name__.replace("_", "-"))))(function)
    program(prog_name="workbench")


def _nothing() -> None:
    """Keep the name of the command, which a program of one command would not ask for."""
