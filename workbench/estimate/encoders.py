"""Memory, least time and price of encoders: embedding models and image classifiers."""

from dataclasses import dataclass

from workbench.catalog.encoder_spec import EncoderSpec
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.estimate.roofline import Ceilings

REACHED = 0.5  # of the peak by products of encoders in batches, an assumption: measure it with `workbench edge` or your own server


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEstimate:
    """Memory, time and price of a batch of inputs."""

    weights_bytes: float
    activation_bytes: float
    """Largest at once: the input and output of a layer's feed-forward part."""
    flop: float
    batch_s: float
    """The longer of reading the weights once and of the work at ``REACHED`` of the peak."""
    inputs_per_s: float
    usd_per_million_inputs: float | None
    usd_per_million_tokens: float | None


def input_tokens(encoder: EncoderSpec, tokens: int | None) -> int | None:
    """Return the positions of an input; raises ``InvalidSpec`` where they do not fit."""
    if encoder.takes_images:
        return encoder.most_tokens
    if tokens is None or tokens < 1:
        raise InvalidSpec(
            gettext("{encoder} reads tokens.").format(encoder=encoder.name), remedy=gettext("Say how many.")
        )
    if encoder.most_tokens is not None and tokens > encoder.most_tokens:
        raise InvalidSpec(
            gettext("{encoder} reads at most {most} tokens, not {n}.").format(
                encoder=encoder.name, most=encoder.most_tokens, n=tokens
            ),
            remedy=gettext("Cut the text."),
        )
    return tokens


def flop_per_input(encoder: EncoderSpec, *, tokens: int | None) -> float:
    """Return two operations for each weight of a layer and token, and four for each pair of tokens and channel; embeddings are looked up."""
    n = input_tokens(encoder, tokens)
    if encoder.n_layers is None or encoder.hidden is None or encoder.intermediate is None or n is None:
        if encoder.flop_per_input is None:
            raise InvalidSpec(
                gettext("The work of {encoder} is not known.").format(encoder=encoder.name),
                remedy=gettext("Add it to its note in data/models.csv."),
            )
        return encoder.flop_per_input
    weights = encoder.n_layers * (4 * encoder.hidden**2 + 2 * encoder.hidden * encoder.intermediate)
    return 2.0 * weights * n + 4.0 * encoder.n_layers * encoder.hidden * n * n


def encoder_estimate(
    encoder: EncoderSpec,
    ceilings: Ceilings,
    *,
    batch: int,
    tokens: int | None = None,
    bits: int = 16,
    usd_per_hour: float | None = None,
) -> EncoderEstimate:
    """Return what a batch of inputs needs on a device that does nothing else.

    Images have a fixed number of ``tokens``; ``bits`` are of weights and activations.
    """
    if bits not in ceilings.flop_per_s:
        known = ", ".join(map(str, sorted(ceilings.flop_per_s)))
        raise InvalidSpec(
            gettext("No peak for {bits} bits is known.").format(bits=bits),
            remedy=gettext("Choose from: {names}.").format(names=known),
        )
    if batch < 1:
        raise InvalidSpec(gettext("A batch of {batch}.").format(batch=batch), remedy=gettext("Give one input or more."))
    n, flop = input_tokens(encoder, tokens), batch * flop_per_input(encoder, tokens=tokens)
    weights = encoder.n_params * bits / 8
    wide = (encoder.hidden or 0) * 2 + (encoder.intermediate or 0)
    seconds = max(weights / ceilings.bandwidth_bytes_per_s, flop / (REACHED * ceilings.flop_per_s[bits]))
    usd = None if usd_per_hour is None else usd_per_hour / 3600 * seconds / batch * 1e6
    return EncoderEstimate(
        weights_bytes=weights,
        activation_bytes=batch * (n or 0) * wide * bits / 8,
        flop=flop,
        batch_s=seconds,
        inputs_per_s=batch / seconds,
        usd_per_million_inputs=usd,
        usd_per_million_tokens=None if usd is None or not n or encoder.takes_images else usd / n,
    )
