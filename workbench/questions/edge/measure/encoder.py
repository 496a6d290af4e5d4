"""The folder of a text encoder: its graph and quantized copies, judged by the embeddings of the model's own code."""

from pathlib import Path

import numpy as np

from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.compress.text_encoder import embeddings, export_encoder, opened_encoder, passages
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.language import gettext_noop
from workbench.questions.edge.measure.graph import N_INPUTS, Subject, with_quantized
from workbench.questions.edge.measure.lengths import MOST_TOKENS, passages_of
from workbench.questions.edge.spec import EdgeSpec
from workbench.vision.sessions import Graph
from workbench.vision.variants import Variant

LARGEST_DIFFERENCE = 1e-3  # between the graph's embeddings and the model's, which have length 1


def encoder_subject(spec: EdgeSpec, folder: Path) -> Subject:
    """Return the graph of an encoder and its quantized copies, with passages of text that they embed.

    Raises:
        NotAModel: the folder has no tokenizer, or its model takes no text.
        NotAvailable: the model cannot be exported, or its graph does not give the model's embeddings.
        InvalidSpec: a file of inputs is named.
    """
    if spec.data is not None:
        raise InvalidSpec(
            "An encoder's folder takes no file of inputs.", remedy="Leave --data out, or export a graph and name that."
        )
    place = located(spec.model)
    net, tokenizer = opened_encoder(place)
    tested, calibration = (passages(tokenizer, text, net, n=N_INPUTS) for text in (HELD_OUT_TEXT, CALIBRATION_TEXT))
    reference = embeddings(net, tested)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "fp32.onnx"
    export_encoder(net, tested, base)
    runner = Graph(base, threads=spec.threads)
    off = float(np.abs(runner.logits(tested) - reference).max())
    if not off <= LARGEST_DIFFERENCE:
        raise NotAvailable(
            f"The exported graph is not the model: its embeddings differ by up to {off:.3g} ({LARGEST_DIFFERENCE:g} is allowed).",
            remedy="Export it otherwise, and name the graph.",
        )
    pooling = gettext_noop("first token") if net.pools_first else gettext_noop("mean over tokens")
    note = gettext_noop("{n} passages of {n_tokens} tokens; pooling: {pooling}").format(
        n=len(tested), n_tokens=tested.dtype["input_ids"].shape[0], pooling=pooling
    )
    variants = {"fp32": Variant(technique="fp32", runner=runner, graphs=(base,), note=note)}
    varied = passages(tokenizer, HELD_OUT_TEXT, net, n=N_INPUTS, n_tokens=MOST_TOKENS)
    subject = Subject(
        variants=variants,
        inputs=tested,
        labels=None,
        batch=None,
        failures=[],
        reference=[reference],
        varied=varied,
        source=passages_of(HELD_OUT_TEXT),
    )
    return with_quantized(spec, subject, calibration)
