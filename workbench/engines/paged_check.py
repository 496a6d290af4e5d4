"""Whether transformers' continuous batching gives the tokens that the model itself gives: it does not for every architecture."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from workbench.core.errors import NotAvailable
from workbench.understanding.reading import LONGEST_TRIED, refused_in_words, require_finite, shortest_window

N_PROMPT, N_ANSWER = 40, 8
CLEAR_LEAD = 0.05
"""A token leads clearly where its logit is so many standard deviations of all logits above the next one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A prompt and what the model itself answers greedily."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    is_clear: tuple[bool, ...]
    """Whether each of these tokens leads clearly, so that rounding cannot explain another one."""


@torch.inference_mode()
def reference_of(model: PreTrainedModel, *, n_vocab: int) -> Reference:
    """Return the greedy answer to a fixed prompt, recomputed as a whole for every token, without a cache.

    The prompt goes beyond the shortest window of the model where that is short.

    Raises:
        NotAModel: The model answers with NaN.
    """
    window = shortest_window(model.config) or 0
    n_prompt = N_PROMPT + (window if window <= LONGEST_TRIED else 0)
    prompt = [(i * 7919 + 101) % n_vocab for i in range(n_prompt)]
    ids, is_clear = list(prompt), []
    with refused_in_words(model, "answer a prompt"):
        for _ in range(N_ANSWER):
            tokens = torch.tensor([ids], device=model.device)
            logits = model(input_ids=tokens, use_cache=False).logits[0, -1].float()
            require_finite(logits, model)
            best = logits.topk(2)
            is_clear.append(bool(best.values[0] - best.values[1] > CLEAR_LEAD * logits.std()))
            ids.append(int(best.indices[0]))
    return Reference(prompt=tuple(prompt), tokens=tuple(ids[n_prompt:]), is_clear=tuple(is_clear))


def require_same_tokens(
    reference: Reference,
    answer: Sequence[int],
    *,
    architecture: str,
    what: str = "Continuous batching of transformers",
) -> None:
    """Check an answer of an engine; after a tie both continuations are right.

    Raises:
        NotAvailable: A token differs that leads clearly.
    """
    pairs = zip(answer, reference.tokens, reference.is_clear, strict=False)
    differing = next(((i, clear) for i, (one, other, clear) in enumerate(pairs, start=1) if one != other), None)
    if differing and differing[1]:
        raise NotAvailable(
            f"{what} answers wrongly for {architecture}: token {differing[0]} is not the model's own.",
            remedy="Serve the model with --engine vllm.",
        )
