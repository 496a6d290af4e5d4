"""The folder of a text encoder: its graph from tokens to one embedding, judged by the embeddings of the model's own code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.core.errors import InvalidSpec, NotAModel, NotAvailable
from workbench.questions.edge.measure.graph import N_INPUTS, Subject, first_line, with_quantized
from workbench.questions.edge.spec import EdgeSpec
from workbench.vision.graphs import quiet
from workbench.vision.sessions import Examples, Graph
from workbench.vision.variants import Variant

N_TOKENS = 64
LEAST_CHARACTERS = 80  # of a passage
LARGEST_DIFFERENCE = 1e-3  # between the graph's embeddings and the model's, which have length 1
FIRST_TOKEN, MEAN = frozenset({"cls", "cls_token"}), frozenset({"mean", "mean_tokens"})
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Embedder(torch.nn.Module):
    """An encoder with the pooling that its folder asks for, as sentence-transformers carries it out: (texts, tokens) to (texts, hidden) of length 1."""

    def __init__(self, model: PreTrainedModel, *, pools_first: bool) -> None:
        super().__init__()
        self.model, self.pools_first = model, pools_first

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of texts: their inputs in the order of ``TEXT_INPUTS``."""
        states = self.model(**dict(zip(TEXT_INPUTS, inputs, strict=False))).last_hidden_state
        if self.pools_first:
            pooled = states[:, 0]
        else:
            mask = inputs[1][..., None].to(states.dtype)
            pooled = (states * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1)


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
    net, tokenizer = _opened(place)
    tested, calibration = (_passages(tokenizer, text, net) for text in (HELD_OUT_TEXT, CALIBRATION_TEXT))
    reference = _embeddings(net, tested)
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "fp32.onnx"
    _export(net, tested, base)
    runner = Graph(base, threads=spec.threads)
    off = float(np.abs(runner.logits(tested) - reference).max())
    if not off <= LARGEST_DIFFERENCE:
        raise NotAvailable(
            f"The exported graph is not the model: its embeddings differ by up to {off:.3g} ({LARGEST_DIFFERENCE:g} is allowed).",
            remedy="Export it otherwise, and name the graph.",
        )
    pooling = "first token" if net.pools_first else "mean over tokens"
    note = f"{len(tested)} passages of {tested.dtype['input_ids'].shape[0]} tokens; pooling: {pooling}"
    variants = {"fp32": Variant(technique="fp32", runner=runner, graphs=(base,), note=note)}
    subject = Subject(variants=variants, inputs=tested, labels=None, batch=None, failures=[], reference=[reference])
    return with_quantized(spec, subject, calibration)


def _opened(place: str) -> tuple[Embedder, PreTrainedTokenizerBase]:
    try:
        model = AutoModel.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:  # transformers raises many kinds for what is missing
        raise NotAModel(
            f"{place} cannot be opened: {first_line(error)}",
            remedy="Name the folder of a text encoder with weights and tokenizer.",
        ) from error
    if model.main_input_name != "input_ids" or model.config.is_encoder_decoder:
        raise NotAModel(
            f"{place} is no text encoder: it takes {model.main_input_name}.",
            remedy="Export it to ONNX, and name the graph.",
        )
    if not np.isfinite([float(p.abs().sum()) for p in model.parameters()]).all():
        raise NotAModel(
            f"{place} has weights that are NaN or infinite.", remedy="Check the weights: a file may be damaged."
        )
    return Embedder(model, pools_first=_pools_first(Path(place))).eval(), tokenizer


def _pools_first(place: Path) -> bool:
    """Return whether the folder asks for the first token's state; the mean is what it gets if it says nothing.

    Raises:
        NotAvailable: the folder asks for another pooling, or for a layer after it.
    """
    settings, modules = (_json(place / name) for name in ("1_Pooling/config.json", "modules.json"))
    kinds = {str(m.get("type", "")).rsplit(".", 1)[-1] for m in modules} if isinstance(modules, list) else set()
    modes = {
        name.removeprefix("pooling_mode_")
        for name, value in settings.items()
        if value is True and "pooling_mode_" in name
    }
    modes |= {str(settings["pooling_mode"])} if "pooling_mode" in settings else set()
    others = sorted((kinds - {"Transformer", "Pooling", "Normalize"}) | (modes - FIRST_TOKEN - MEAN))
    if others or len(modes) > 1:
        raise NotAvailable(
            f"{place} embeds with {', '.join(others or sorted(modes))}, which is not supported here.",
            remedy="Export the encoder to ONNX, and name the graph.",
        )
    return bool(modes & FIRST_TOKEN)


def _json(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else {}


def _passages(tokenizer: PreTrainedTokenizerBase, text: Path, net: Embedder) -> Examples:
    """Return the tokens of passages that are spread over a text, filled up to the same length and masked."""
    paragraphs = [
        p.strip() for p in text.read_text(encoding="utf-8").split("\n\n") if len(p.strip()) >= LEAST_CHARACTERS
    ]
    chosen = [paragraphs[i] for i in np.linspace(0, len(paragraphs) - 1, N_INPUTS).astype(int)]
    most = getattr(net.model.config, "max_position_embeddings", None) or N_TOKENS
    length = min(N_TOKENS, most - 2)  # RoBERTa's first positions are taken
    if tokenizer.pad_token is None:
        raise NotAModel("The tokenizer has no padding token.", remedy="Set pad_token in tokenizer_config.json.")
    batch = tokenizer(chosen, padding="max_length", truncation=True, max_length=length, return_tensors="np")
    names = _input_names(net, batch)
    examples = np.zeros(len(chosen), [(name, np.int64, (length,)) for name in names])
    for name in names:
        examples[name] = batch[name]
    rows = net.model.get_input_embeddings().num_embeddings
    if examples["input_ids"].max() >= rows:
        raise NotAModel(
            f"The tokenizer gives token {examples['input_ids'].max()}, the model knows {rows}.",
            remedy="Use the tokenizer of this model.",
        )
    return examples


def _input_names(net: Embedder, batch: Mapping[str, object]) -> Sequence[str]:
    takes_types = getattr(net.model.config, "type_vocab_size", 0) and "token_type_ids" in batch
    return TEXT_INPUTS if takes_types else TEXT_INPUTS[:2]


def _tensors(examples: Examples) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(examples[name])) for name in examples.dtype.names or ())


@torch.no_grad()
def _embeddings(net: Embedder, examples: Examples) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray(net(*_tensors(examples)).numpy())


def _export(net: Embedder, examples: Examples, target: Path) -> None:
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    names = list(examples.dtype.names or ())
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                net,
                _tensors(examples[:2]),
                input_names=names,
                output_names=["sentence_embedding"],
                dynamic_shapes=(tuple(shape for _ in names),),
                dynamo=True,
                opset_version=20,
                verbose=False,
            )
    except Exception as error:  # whatever the exporter raises is the reason why there is no graph
        raise NotAvailable(
            f"{net.model.config.model_type} cannot be exported to ONNX: {first_line(error)}",
            remedy="Export it otherwise, and name the graph.",
        ) from error
    assert program is not None
    program.save(str(target), external_data=False)
