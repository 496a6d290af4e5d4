"""The command that estimates embedding models and classifiers of pictures."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from workbench.catalog.encoders import encoder
from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.encoders import encoder_estimate
from workbench.experiments.ceilings import published_ceilings

out = Console()


def encode(
    model: Annotated[str, typer.Argument(help="An encoder of data/models.csv, such as BAAI/bge-base-en-v1.5.")],
    device: Annotated[str, typer.Argument(help="Row of data/hardware.csv.")] = "h200-sxm",
    batch: Annotated[int, typer.Option(help="Inputs at once.")] = 64,
    tokens: Annotated[int, typer.Option(help="Of each text; pictures have a fixed number.")] = 256,
    bits: Annotated[int, typer.Option(help="16 or 8.")] = 16,
    usd_per_hour: Annotated[float | None, typer.Option(help="Price of the device.")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory, time and price of an embedding model or a classifier of pictures."""
    with ReadableErrors():
        found = encoder_estimate(
            encoder(model), published_ceilings(device), batch=batch, tokens=tokens, bits=bits, usd_per_hour=usd_per_hour
        )
        if as_json:
            print(json.dumps({"model": model, "device": device, "provenance": "estimated"} | asdict(found), indent=1))
            return
        out.print(
            f"◌ {model} on {device}: weights {shown_bytes(found.weights_bytes)}, activations {shown_bytes(found.activation_bytes)}; a batch of {batch} "
            f"takes {shown_duration(found.batch_s)}, {found.inputs_per_s:,.0f} inputs/s",
            highlight=False,
        )
        if found.usd_per_million_inputs is not None:
            by_token = (
                ""
                if found.usd_per_million_tokens is None
                else f", {found.usd_per_million_tokens:.5f} USD a million tokens"
            )
            out.print(
                f"{found.usd_per_million_inputs:.3f} USD a million inputs{by_token}, if it does nothing else",
                highlight=False,
            )
