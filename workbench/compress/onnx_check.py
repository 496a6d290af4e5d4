"""Whether an exported graph computes what its model computes: logits and top-1 tokens, in prefill and in steps over the cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from transformers import PreTrainedModel

from workbench.core.errors import NotAModel, NotAvailable

CHECKED_TOKENS = 512
SHORT_TOKENS = 16
STEPS = 4
LARGEST_DIFFERENCE = 1e-3
"""Of the logits; relative to their standard deviation where that is above 1."""
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Tokens, of which the last ``STEPS`` are decoded one by one, and the model's logits after each."""

    ids: npt.NDArray[np.int64]
    logits: Floats


@torch.no_grad()
def model_answers(model: PreTrainedModel, *, n_tokens: int) -> list[Answers]:
    """Return the model's own answers to random tokens: to one long prompt and to two short ones together.

    Args:
        model: Model in float32.
        n_tokens: Length of the long prompt with its steps; shortened to the context length of the model.

    Raises:
        NotAModel: the model's own logits are not finite.
    """
    config = model.config.get_text_config()
    n_tokens = min(n_tokens, getattr(config, "max_position_embeddings", None) or n_tokens)
    generator = torch.Generator().manual_seed(0)
    answers = []
    for batch, length in ((1, n_tokens), (2, min(SHORT_TOKENS, n_tokens))):
        ids = torch.randint(model.get_input_embeddings().num_embeddings, (batch, length), generator=generator)
        out = model(input_ids=ids[:, :-STEPS], use_cache=True)
        logits = [out.logits]
        for at in range(length - STEPS, length):
            out = model(input_ids=ids[:, at : at + 1], past_key_values=out.past_key_values, use_cache=True)
            logits.append(out.logits)
        answers.append(Answers(ids=ids.numpy(), logits=torch.cat(logits, dim=1).float().numpy()))
    if not all(np.isfinite(a.logits).all() for a in answers):
        raise NotAModel(
            f"The logits of {model.config.model_type} are not finite (NaN or infinity).",
            remedy="Check the weights: a file may be damaged, or overflow its precision.",
        )
    return answers


def graph_session(graph: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session that runs a graph on the processor; 0 threads are all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def empty_cache(session: onnxruntime.InferenceSession, batch: int) -> dict[str, Floats]:
    """Return a past of length zero, by input name."""
    return {
        i.name: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32)
        for i in session.get_inputs()
        if i.name != "input_ids"
    }


def check_graph(graph: Path, answers: Sequence[Answers]) -> None:
    """Return if a graph gives the model's logits and top-1 tokens in prefill and in steps; else raise ``NotAvailable``."""
    session = graph_session(graph)
    for answer in answers:
        own = _graph_logits(session, answer.ids)
        difference = float(np.abs(own - answer.logits).max())
        allowed = LARGEST_DIFFERENCE * max(1.0, float(answer.logits.std()))
        second, first = np.moveaxis(np.partition(answer.logits, -2, axis=-1)[..., -2:], -1, 0)
        clear = first - second > 2 * allowed  # closer ones are ties
        same = (own.argmax(-1) == answer.logits.argmax(-1))[clear]
        if not difference <= allowed or not same.all():
            raise NotAvailable(
                f"The exported graph is not the model: on {answer.ids.shape[1]} tokens its logits differ by up to {difference:.3g} "
                f"({allowed:.1g} is allowed) and {int((~same).sum())} of {same.size} top-1 tokens differ.",
                remedy="Measure it with the methods that run in PyTorch.",
            )


def _graph_logits(session: onnxruntime.InferenceSession, ids: npt.NDArray[np.int64]) -> Floats:
    """Return the logits after each token, of which the last ``STEPS`` are decoded one by one."""
    past, logits = empty_cache(session, ids.shape[0]), []
    cuts = [0, *range(ids.shape[1] - STEPS, ids.shape[1] + 1)]
    for start, end in pairwise(cuts):
        out, *cache = session.run(None, {"input_ids": ids[:, start:end], **past})
        logits.append(out)
        past = dict(zip(past, cache, strict=True))
    return np.concatenate(logits, axis=1)
