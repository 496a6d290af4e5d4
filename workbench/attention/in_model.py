"""A transformers model that computes its attention with one of our techniques."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PretrainedConfig

from workbench.attention.techniques import attention, best_technique
from workbench.catalog.attention_techniques import TECHNIQUES, AttentionOptions
from workbench.core.errors import NotAModel, NotAvailable
from workbench.understanding.reading import ALIKE, CausalReader, open_causal_model, refused_in_words, shortest_window

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """How a model reads one text, position by position."""

    nll_nat: tuple[float, ...]
    """Surprise: negative log-likelihood of the next token."""
    kl_nat: tuple[float, ...]
    """KL divergence from the reference."""


PROBE = "workbench_probe"
TOKENS_AT_ONCE = 64  # bounds the float64 copies: 64 tokens x 128k words x 8 B = 66 MB


def computed(
    module: object,  # noqa: ARG001
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: object,  # noqa: ARG001
    *_rest: object,
    technique: str,
    options: AttentionOptions = AttentionOptions(),  # noqa: B008 - frozen
    scaling: float | None = None,
    **_named: object,
) -> tuple[torch.Tensor, None]:
    """Return attention by a technique, as transformers asks for it."""
    out = attention(query, key, value, technique=technique, options=options, scale=scaling)
    return out.transpose(1, 2).contiguous(), None


def implementation(technique: str, options: AttentionOptions) -> str:
    """Return the name under which transformers finds a technique; every sequence of a batch must have the same length."""
    name = f"workbench_{abs(hash((technique, options)))}"  # transformers looks for packages behind names with "flash"
    AttentionInterface.register(name, partial(computed, technique=technique, options=options))
    AttentionMaskInterface.register(name, lambda *_rest, **_named: None)
    return name


class LongModel:
    """A causal language model for long texts; raises ``NotAModel`` when it cannot be read or answers with NaN.

    Techniques that see all keys give the model's own answers. A model whose attention is more than that (sliding windows,
    sinks, capped or biased scores, layers without attention) is computed as transformers does, and has no cheaper technique.

    With ``random_weights`` only the shape counts, as where a folder has no weights; ``half`` is bfloat16 instead of
    float32. ``new_cache`` makes the cache of a text from the model's configuration: transformers' growing one when None.
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
        new_cache: Callable[[PretrainedConfig], Cache] | None = None,
    ) -> None:
        dtype = torch.bfloat16 if half else torch.float32
        self.device, self.new_cache = device, new_cache
        self.model = open_causal_model(place, dtype=dtype, device=device, random_weights=random_weights)
        self.reader = CausalReader(self.model)
        self.reader.require_right_in_pieces(chunks=False)
        self._own = self.model.config._attn_implementation  # noqa: SLF001 - there is no public way to ask
        self._is_plain = self._follows_techniques()
        self.with_attention(technique, options)

    @torch.inference_mode()
    def _follows_techniques(self) -> bool:
        """Return whether our full attention gives the model's own answers, so that a technique changes what it says and no more."""
        if shortest_window(self.model.config) is not None:
            return False
        ids = self.reader.sample()
        own = self.reader.whole(ids).float()
        n_called = 0

        def counted(*given: Any, **named: Any) -> tuple[torch.Tensor, None]:
            nonlocal n_called
            n_called += 1
            return computed(*given, technique=best_technique(self.device, half=own.dtype != self.model.dtype), **named)

        AttentionInterface.register(PROBE, counted)
        AttentionMaskInterface.register(PROBE, lambda *_rest, **_named: None)
        try:
            self.model.set_attn_implementation(PROBE)
            ours = self.reader.whole(ids).float()
        except Exception:  # noqa: BLE001 - code of any architecture; its own attention is used then
            return False
        finally:
            self.model.set_attn_implementation(self._own)
        difference = (ours - own).square().mean().sqrt() / own.std()
        return n_called > 0 and bool(difference < ALIKE.get(self.model.dtype, 0.01))

    @property
    def chunks_refused(self) -> str | None:
        """Why a prompt cannot be read in chunks; None where it can."""
        try:
            self.reader.require_right_in_pieces(chunks=True)
        except NotAvailable as error:
            return error.cause
        return None

    def start(self, cache: Cache | None = None) -> "Reading":
        """Return a text that has no tokens yet, with a cache of the model's own class where none is given."""
        return Reading(
            self, cache if cache is not None or self.new_cache is None else self.new_cache(self.model.config)
        )

    def _tensor(self, ids: Ids) -> torch.Tensor:
        if ids.size and int(ids.max()) >= self.reader.n_words:
            raise NotAModel(
                f"The tokenizer gives token {int(ids.max())}; the embedding has {self.reader.n_words} rows.",
                remedy="Use the tokenizer that the model was trained with.",
            )
        return torch.from_numpy(np.atleast_2d(ids)).to(self.device)

    @torch.inference_mode()
    def logits(self, window: Ids) -> torch.Tensor:
        """Return the logits of every token of one text: (tokens, words), float32."""
        return self.start().read(self._tensor(window), all_logits=True)[0].float()

    def divergence(self, window: Ids, reference: torch.Tensor) -> Divergence:
        """Return surprise at each position and divergence from logits on ``window[:-1]``."""
        logits = self.logits(window[:-1])
        following = torch.from_numpy(window[1:]).to(logits.device)
        nll: list[float] = []
        kl: list[float] = []
        for at in range(0, len(logits), TOKENS_AT_ONCE):
            part = slice(at, at + TOKENS_AT_ONCE)
            own, base = (torch.log_softmax(x[part].double(), -1) for x in (logits, reference))
            nll += (-own.gather(1, following[part, None])[:, 0]).tolist()
            kl += (base.exp() * (base - own)).sum(-1).clamp_min(0).tolist()
        return Divergence(nll_nat=tuple(nll), kl_nat=tuple(kl))

    @torch.inference_mode()
    def greedy_tokens(self, prompts: Ids, *, n_tokens: int) -> list[list[int]]:
        """Return the most likely tokens after prompts of one length: prompts (batch, tokens)."""
        reading = self.start()
        tokens = [reading.read(self._tensor(prompts))[:, -1].argmax(-1)]
        for _ in range(n_tokens - 1):
            tokens.append(reading.read(tokens[-1][:, None])[:, -1].argmax(-1))
        ids: list[list[int]] = torch.stack(tokens, dim=1).tolist()
        return ids

    @torch.inference_mode()
    def surprise(self, prompts: Ids, answers: Ids) -> list[float]:
        """Return the mean surprise of each answer's tokens, nat per token; prompts, (batch, tokens), are read first."""
        reading = self.start()
        rows = [reading.read(self._tensor(prompts))[:, -1:]]
        rows += [reading.read(self._tensor(answers[:, i : i + 1]))[:, -1:] for i in range(answers.shape[1] - 1)]
        logp = torch.log_softmax(torch.cat(rows, dim=1).float(), -1)
        mean: list[float] = (-logp.gather(2, self._tensor(answers)[..., None])).mean((1, 2)).tolist()
        return mean

    def with_attention(self, technique: str, options: AttentionOptions) -> None:
        """Compute attention with another technique from now on; raises ``NotAvailable`` where the model's own is not that simple."""
        if self._is_plain:
            self.model.set_attn_implementation(implementation(technique, options))
            return
        if TECHNIQUES[technique].pattern != "full":
            raise NotAvailable(
                f"{type(self.model).__name__} computes attention in its own way (windows, sinks, biases, or layers without attention), "
                f"so that {TECHNIQUES[technique].label} cannot take its place.",
                remedy="Measure full attention and KV cache formats of this model.",
            )
        self.with_own_attention()

    def with_own_attention(self) -> None:
        """Compute attention as transformers does, masks included: caches with empty places need them."""
        self.model.set_attn_implementation(self._own)

    def wait(self) -> None:
        """Wait until the device has done what it was asked for."""
        if self.device == "cuda":
            torch.cuda.synchronize()


class Reading:
    """A text that a model reads piece by piece; ``memory`` is what it keeps of it, None before the first token."""

    def __init__(self, model: LongModel, cache: Cache | None) -> None:
        self._model, self.memory = model, cast("object", cache)

    @torch.inference_mode()
    def read(self, ids: torch.Tensor, *, all_logits: bool = False) -> torch.Tensor:
        """Return the logits after more tokens, (batch, tokens): at least those of the last one."""
        with refused_in_words(self._model.model, "read this text"):
            logits, self.memory = self._model.reader.read(ids, self.memory, all_logits=all_logits)
        return logits

    def read_in_chunks(self, ids: Ids, *, chunk: int) -> list[float]:
        """Return the seconds of each chunk of a prompt."""
        tokens = torch.from_numpy(ids)[None].to(self._model.device)
        return [self._seconds(tokens[:, at : at + chunk]) for at in range(0, ids.size, chunk)]

    def step(self) -> float:
        """Return the seconds of one decode step."""
        return self._seconds(torch.zeros((1, 1), dtype=torch.long, device=self._model.device))

    def _seconds(self, ids: torch.Tensor) -> float:
        self._model.wait()
        started = time.perf_counter()
        self.read(ids)
        self._model.wait()
        return time.perf_counter() - started
