"""A transformers model that computes its attention with one of our techniques."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from workbench.attention.techniques import attention
from workbench.core.attention import AttentionOptions
from workbench.core.errors import NotAModel

Ids = npt.NDArray[np.int64]


def implementation(technique: str, options: AttentionOptions) -> str:
    """The name under which transformers finds a technique; every sequence of a batch must have the same length."""
    name = f"workbench_{abs(hash((technique, options)))}"  # transformers looks for packages behind names with "flash"

    def computed(
        module: Any,  # noqa: ARG001
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,  # noqa: ARG001
        *_rest: Any,
        scaling: float | None = None,
        **_named: Any,
    ) -> tuple[torch.Tensor, None]:
        out = attention(query, key, value, technique=technique, options=options, scale=scaling)
        return out.transpose(1, 2).contiguous(), None

    AttentionInterface.register(name, computed)
    AttentionMaskInterface.register(name, lambda *_rest, **_named: None)
    return name


class LongModel:
    """A causal language model for long texts.

    Args:
        place: Folder of the model.
        device: "cpu" or "cuda".
        technique: A name in ``core.attention.TECHNIQUES``.
        options: What it is set to.
        random_weights: Only the shape counts, as where a folder has no weights.
        half: Whether in bfloat16 instead of float32.
        new_cache: Makes the cache of a text; transformers' growing one when None.

    Raises:
        NotAModel: it cannot be read.
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
        new_cache: Callable[[], Any] | None = None,
    ) -> None:
        transformers_logging.disable_progress_bar()
        self.device, self.new_cache = device, new_cache
        dtype = torch.bfloat16 if half else torch.float32
        named = {"attn_implementation": implementation(technique, options)}
        try:
            if random_weights:
                config = AutoConfig.from_pretrained(place)
                torch.manual_seed(0)
                default = torch.get_default_dtype()
                torch.set_default_dtype(dtype)
                try:
                    with torch.device(device):
                        model = AutoModelForCausalLM.from_config(config, **named)
                finally:
                    torch.set_default_dtype(default)
            else:
                model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype, **named)
        except (OSError, ValueError, KeyError) as error:
            raise NotAModel(f"{place} cannot be loaded: {error}", remedy="Name a transformers model folder.") from error
        self.model = model.to(device).eval()

    def _tensor(self, ids: Ids) -> torch.Tensor:
        return torch.from_numpy(np.atleast_2d(ids)).to(self.device)

    def _cache(self) -> Any:
        from transformers import DynamicCache

        return self.new_cache() if self.new_cache else DynamicCache()

    @torch.inference_mode()
    def logits(self, window: Ids) -> torch.Tensor:
        """Of every token of one text: (tokens, words), float32."""
        out: torch.Tensor = self.model(self._tensor(window), past_key_values=self._cache(), use_cache=True).logits[0]
        return out.float()

    def compared(self, window: Ids, reference: torch.Tensor) -> dict[str, list[float]]:
        """Surprise and divergence at each position, in nat: ``nll`` and ``kl``.

        Args:
            window: (tokens + 1,).
            reference: ``logits`` of the reference on ``window[:-1]``.
        """
        own, base = (torch.log_softmax(x, -1) for x in (self.logits(window[:-1]), reference))
        following = torch.from_numpy(window[1:]).to(own.device)
        nll = -own.gather(1, following[:, None])[:, 0]
        kl = (base.exp() * (base - own)).sum(-1).clamp_min(0)
        return {"nll": nll.double().tolist(), "kl": kl.double().tolist()}

    @torch.inference_mode()
    def continued(self, prompts: Ids, *, n_tokens: int) -> list[list[int]]:
        """The most likely tokens after prompts of one length: prompts (batch, tokens)."""
        cache = self._cache()
        out = self.model(self._tensor(prompts), past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        tokens = [out[:, -1].argmax(-1)]
        for _ in range(n_tokens - 1):
            out = self.model(tokens[-1][:, None], past_key_values=cache, use_cache=True).logits
            tokens.append(out[:, -1].argmax(-1))
        made: list[list[int]] = torch.stack(tokens, dim=1).tolist()
        return made

    @torch.inference_mode()
    def surprise(self, prompts: Ids, answers: Ids) -> list[float]:
        """Mean surprise of each answer's tokens, nat per token; prompts are read first, as a server does.

        Args:
            prompts: (batch, tokens).
            answers: (batch, answer tokens).
        """
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
    def read_in_chunks(self, ids: Ids, *, chunk: int, cache: Any) -> list[float]:
        """Seconds of each chunk of a prompt, read one after the other into a cache."""
        seconds = []
        for at in range(0, ids.size, chunk):
            part = self._tensor(ids[at : at + chunk])
            seconds.append(self._timed(part, cache))
        return seconds

    @torch.inference_mode()
    def step(self, cache: Any) -> float:
        """Seconds of one decoding step."""
        return self._timed(torch.zeros((1, 1), dtype=torch.long, device=self.device), cache)

    def _timed(self, ids: torch.Tensor, cache: Any) -> float:
        self._wait()
        started = time.perf_counter()
        self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()
