"""Encoders: the rows of ``data/models.csv`` that keep no KV cache and generate nothing."""

import re

from workbench.catalog.encoder_spec import EncoderSpec
from workbench.catalog.model_rows import model_rows
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.own_rows import cached_while_unchanged


@cached_while_unchanged("models.csv")
def catalog_encoders() -> dict[str, EncoderSpec]:
    """Return the embedding models and image classifiers of the catalogue, by name."""
    return {
        row.model: EncoderSpec(
            name=row.model,
            architecture=row.architecture,
            n_params=row.params_total,
            n_layers=row.layers,
            hidden=row.hidden,
            intermediate=row.intermediate,
            most_tokens=row.max_context,
            flop_per_input=_noted_flop(row.note),
            source=f"{row.provenance}: {row.source}",
        )
        for row in model_rows()
        if row.attention in {"encoder", "CNN"}
    }


def _noted_flop(note: str) -> float | None:
    """Return two operations for each of the noted multiply-accumulates."""
    match = re.search(r"([\d.]+) GMACs", note)
    return 2e9 * float(match.group(1)) if match else None


def encoder_from(spec: ModelSpec) -> EncoderSpec:
    """Return a model of the kind encoder, as it was understood from its file, as an encoder."""
    return EncoderSpec(
        name=spec.name,
        architecture=spec.architecture,
        n_params=spec.n_params,
        n_layers=spec.n_layers,
        hidden=spec.hidden,
        intermediate=spec.intermediate or None,
        most_tokens=spec.max_context_tokens,
        source=spec.source,
    )
