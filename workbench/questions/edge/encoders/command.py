"""The command that estimates the cost of embedding models and image classifiers."""

import json
from dataclasses import asdict

from workbench.catalog.models import encoder
from workbench.core.provenance import Provenance
from workbench.core.units import shown_bytes, shown_duration
from workbench.estimate.ceilings import published_ceilings
from workbench.estimate.encoders import encoder_estimate
from workbench.interface.command import AsJson
from workbench.interface.knobs import asks_for
from workbench.interface.readable import out
from workbench.questions.edge.encoders.spec import EncoderEstimateSpec


@asks_for(EncoderEstimateSpec)
def encode(spec: EncoderEstimateSpec, *, as_json: AsJson = False) -> None:
    """Estimate memory, time and price of an embedding model or an image classifier."""
    estimate = encoder_estimate(
        encoder(spec.model),
        published_ceilings(spec.device),
        batch=spec.batch,
        tokens=spec.tokens,
        bits=spec.bits,
        usd_per_hour=spec.usd_per_hour,
    )
    if as_json:
        about = {"model": spec.model, "device": spec.device, "provenance": Provenance.ESTIMATED.value}
        print(json.dumps(about | asdict(estimate), indent=1))
        return
    out.print(
        f"{Provenance.ESTIMATED.mark} {spec.model} on {spec.device}: weights {shown_bytes(estimate.weights_bytes)}, activations "
        f"{shown_bytes(estimate.activation_bytes)}; a batch of {spec.batch} takes {shown_duration(estimate.batch_s)}, "
        f"{estimate.inputs_per_s:,.0f} inputs/s",
        highlight=False,
    )
    if estimate.usd_per_million_inputs is not None:
        tokens = estimate.usd_per_million_tokens
        by_token = "" if tokens is None else f", {tokens:.5f} USD per million tokens"
        line = f"{estimate.usd_per_million_inputs:.3f} USD per million inputs{by_token}, at full utilization"
        out.print(line, highlight=False)


COMMANDS = (encode,)
