"""A transformers model that computes its attention with one of our techniques."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM, Cache
from transformers.utils import logging as transformers_logging

from workbench.attention.techniques import attention
from workbench.catalog.attention_techniques import AttentionOptions
from workbench.core.errors import NotAModel

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """How a model reads one text, position by position."""

    nll_nat: tuple[float, ...]
    """Surprise: negative log-likelihood of the next token."""
    kl_nat: tuple[float, ...]
    """KL divergence from the reference."""


def implementation(technique: str, options: AttentionOptions) -> str:
    """Return the name under which transformers finds a technique; every sequence of a batch must have the same length."""
    name = f"workbench_{abs(hash((technique, options)))}"  # transformers looks for packages behind names with "flash"

    def compute(
        module: object,  # noqa: ARG001
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: object,  # noqa: ARG001
        *_rest: object,
        scaling: float | None = None,
        **_named: object,
    ) -> tuple[torch.Tensor, None]:
        out = attention(query, key, value, technique=technique, options=options, scale=scaling)
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register(name, compute)
    AttentionMaskInterface.register(name, lambda *_rest, **_named: None)
    return name


class LongModel:
    """A causal language model for long texts; raises ``NotAModel`` when it cannot be read.

    With ``random_weights`` only the shape counts, as where a folder has no weights; ``half`` is bfloat16 instead of
    float32. ``new_cache`` makes the cache of a text: transformers' growing one when None.
    """

    def __init__(
        self,
        place: str,
        *,
        device: str,
        technique: str,
        options: AttentionOptions,
        random_weights: bool = False,
        half: bool = False,
        new_cache: Callable[[], Cache] | None = None,
    ) -> None:
        transformers_logging.disable_progress_bar()
        self.device, self.new_cache = device, new_cache
        dtype = torch.bfloat16 if half else torch.float32
        named = {"attn_implementation": implementation(technique, options), "dtype": dtype}
        try:
            if random_weights:
                torch.manual_seed(0)
                with torch.device(device):
                    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(place), **named)
            else:
                model = AutoModelForCausalLM.from_pretrained(place, **named)
        except (OSError, ValueError, KeyError) as error:
            raise NotAModel(f"{place} cannot be loaded: {error}", remedy="Name a transformers model folder.") from error
        self.model = model.to(device).eval()

    def _tensor(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(np.atleast_2d(ids)).to(self.device)

    def _cache(self) -> Cache:
        from transformers import DynamicCache

        return self.new_cache() if self.new_cache else DynamicCache()

    @torch.inference_mode()
    def logits(self, window: Ids) -> torch.Tensor:
        """Return the logits of every token of one text: (tokens, words), float32."""
        out: torch.Tensor = self.model(self._tensor(window), past_key_values=self._cache(), use_cache=True).logits[0]
        return out.float()

    def divergence(self, window: Ids, reference: torch.Tensor) -> Divergence:
        """Return surprise at each position and divergence from logits on ``window[:-1]``."""
        own, base = (torch.log_softmax(x, -1) for x in (self.logits(window[:-1]), reference))
        following = torch.from_numpy(window[1:]).to(own.device)
        nll = -own.gather(1, following[:, None])[:, 0]
        kl = (base.exp() * (base - own)).sum(-1).clamp_min(0)
        return Divergence(nll_nat=tuple(nll.double().tolist()), kl_nat=tuple(kl.double().tolist()))

    @torch.inference_mode()
    def greedy_tokens(self, prompts: Ids, *, n_tokens: int) -> list[list[int]]:
        """Return the most likely tokens after prompts of one length: prompts (batch, tokens)."""
        cache = self._cache()
        out = self.model(self._tensor(prompts), past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        tokens = [out[:, -1].argmax(-1)]
        for _ in range(n_tokens - 1):
            out = self.model(tokens[-1][:, None], past_key_values=cache, use_cache=True).logits
            tokens.append(out[:, -1].argmax(-1))
        ids: list[list[int]] = torch.stack(tokens, dim=1).tolist()
        return ids

    @torch.inference_mode()
    def surprise(self, prompts: Ids, answers: Ids) -> list[float]:
        """Return the mean surprise of each answer's tokens, nat per token; prompts, (batch, tokens), are read first."""
        cache = self._cache()
        rows = [self.model(self._tensor(prompts), past_key_values=cache, use_cache=True, logits_to_keep=1).logits]
        if answers.shape[1] > 1:
            rows.append(self.model(self._tensor(answers[:, :-1]), past_key_values=cache, use_cache=True).logits)
        logp = torch.log_softmax(torch.cat(rows, dim=1).float(), -1)
        mean: list[float] = (-logp.gather(2, self._tensor(answers)[..., None])).mean((1, 2)).tolist()
        return mean

    def with_attention(self, technique: str, options: AttentionOptions) -> None:
        """Compute attention with another technique from now on."""
        self.model.set_attn_implementation(implementation(technique, options))

    def with_own_attention(self) -> None:
        """Compute attention as transformers does, masks included: caches with empty places need them."""
        self.model.set_attn_implementation("sdpa")

    @torch.inference_mode()
    def read_in_chunks(self, ids: Ids, *, chunk: int, cache: Cache) -> list[float]:
        """Return the seconds of each chunk of a prompt, read one after the other into a cache."""
        return [self._time(self._tensor(ids[at : at + chunk]), cache) for at in range(0, ids.size, chunk)]

    @torch.inference_mode()
    def step(self, cache: Cache) -> float:
        """Return the seconds of one decode step."""
        return self._time(torch.zeros((1, 1), dtype=torch.long, device=self.device), cache)

    def _time(self, ids: torch.Tensor, cache: Cache) -> float:
        self._wait()
        started = time.perf_counter()
        self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
