"""A text encoder as a graph: from tokens to one embedding, pooled as its folder asks for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from workbench.compress.onnx_export import reason
from workbench.core.errors import NotAModel, NotAvailable
from workbench.vision.graphs import quiet

N_TOKENS = 64
LEAST_CHARACTERS = 80  # of a passage
FIRST_TOKEN, MEAN = frozenset({"cls", "cls_token"}), frozenset({"mean", "mean_tokens"})
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Tokens: TypeAlias = npt.NDArray[Any]
"""Texts of the same length in tokens, with a field for each input of the encoder."""


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


def opened_encoder(place: str) -> tuple[Embedder, PreTrainedTokenizerBase]:
    """Return the encoder of a folder in float32 with its pooling, and its tokenizer.

    Raises:
        NotAModel: the folder has no tokenizer or no sound weights, or its model takes no text.
        NotAvailable: its pooling is not supported.
    """
    try:
        model = AutoModel.from_pretrained(place, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place)
    except Exception as error:  # transformers raises many kinds for what is missing
        raise NotAModel(
            f"{place} cannot be opened: {reason(error)}",
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


def spread_passages(text: Path, n: int) -> list[str]:
    """Return passages of a text, spread over all of it: what stands between blank lines and is no mere line."""
    paragraphs = [
        p.strip() for p in text.read_text(encoding="utf-8").split("\n\n") if len(p.strip()) >= LEAST_CHARACTERS
    ]
    return [paragraphs[i] for i in np.linspace(0, len(paragraphs) - 1, n).astype(int)]


def passages(
    tokenizer: PreTrainedTokenizerBase, text: Path, net: Embedder, *, n: int, n_tokens: int = N_TOKENS
) -> Tokens:
    """Return the tokens of passages that are spread over a text, cut or filled up to the same length and masked."""
    chosen = spread_passages(text, n)
    most = getattr(net.model.config, "max_position_embeddings", None) or n_tokens
    length = min(n_tokens, most - 2)  # RoBERTa's first positions are taken
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


def _tensors(examples: Tokens) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_numpy(np.ascontiguousarray(examples[name])) for name in examples.dtype.names or ())


@torch.no_grad()
def embeddings(net: Embedder, examples: Tokens) -> npt.NDArray[np.float32]:
    """Return the embeddings by the model's own code: (texts, hidden)."""
    return np.asarray(net(*_tensors(examples)).numpy())


def export_encoder(net: Embedder, examples: Tokens, target: Path) -> None:
    """Write an encoder as a graph whose texts and tokens are free; raises ``NotAvailable`` where it cannot be exported."""
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
            f"{net.model.config.model_type} cannot be exported to ONNX: {reason(error)}",
            remedy="Export it otherwise, and name the graph.",
        ) from error
    assert program is not None
    program.save(str(target), external_data=False)
