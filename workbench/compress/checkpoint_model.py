"""Any checkpoint that transformers can read, quantized ones included, as a model whose answers are scored."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from workbench.compress.kv_quant import RoundedCache, require_kv_cache
from workbench.compress.packed_experts import read_packed_experts
from workbench.compress.quality import log_probabilities, window_quality
from workbench.compress.variant import WindowQuality
from workbench.core.errors import NotAModel, NotAvailable, first_line
from workbench.understanding.loading import loaded, packed_experts
from workbench.understanding.reading import CausalReader

Ids = npt.NDArray[np.int64]
Logits: TypeAlias = list[torch.Tensor]
"""Logits of each window of text: (tokens, vocabulary)."""
NO_ANSWERS = "Leave pass keys and completed lines out (`--passkeys 0 --completions 0`): likelihoods are read at once."
GREEDY_ROWS = 32  # continued together


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Outputs of a model on windows of text, compared with its reference."""

    quality: list[WindowQuality]
    top1: list[list[int]]
    """Most likely next token at each position of each window."""


class CheckpointModel:
    """A model folder, opened for evaluation. Everything that is not quantized is in float32."""

    def __init__(self, place: str, *, device: str, threads: int, kv_format: str | None = None) -> None:
        """Load the model.

        Raises:
            NotAModel: It cannot be read or run, or tensors are missing, which transformers would initialize at random.
        """
        torch.set_num_threads(threads)
        # NVFP4 scales are bfloat16; a float32 base fails with "expected m1 and m2 to have the same dtype".
        config = Path(place) / "config.json"
        nvfp4 = config.is_file() and "nvfp4" in config.read_text(encoding="utf-8")
        if packed_experts(place):
            self.model = read_packed_experts(place, dtype=torch.float32)
        else:
            self.model = loaded(place, dtype=torch.bfloat16 if nvfp4 else torch.float32)
        try:
            # Packed weights are unpacked at the first use, where a wrong shape shows.
            self.model(input_ids=torch.zeros((1, 1), dtype=torch.int64), use_cache=False)
        except Exception as error:  # each architecture and each format has errors of its own
            raise NotAModel(
                f"{Path(place).name} cannot be run: {first_line(error)}.", remedy="Make or copy the checkpoint again."
            ) from error
        for module in self.model.modules():  # after unpacking, which replaces what runs
            _with_scale_per_token(module)
        if kv_format is not None:
            require_kv_cache(self.model)
        self.model = self.model.to(device)
        self._reader = CausalReader(self.model)
        self._reader.require_causal()
        self.device, self._kv_format = device, kv_format

    def compared(self, windows: Ids, reference: Logits) -> Compared:
        """Return divergence from a reference's logits, negative log-likelihood, agreement and most likely next token of each token.

        Args:
            windows: (windows, tokens + 1).
            reference: ``all_logits`` of the reference on the same windows.
        """
        qualities: list[WindowQuality] = []
        top1: list[list[int]] = []
        for window, expected in zip(windows, reference, strict=True):
            logits = self._logits(window[:-1])
            if logits.shape != expected.shape:
                raise NotAModel(
                    f"The candidate chooses among {logits.shape[-1]:,} tokens, the original among {expected.shape[-1]:,}.",
                    remedy="Compare checkpoints of one model.",
                )
            qualities.append(window_quality(expected, logits, torch.from_numpy(window[1:])))
            top1.append(logits.argmax(-1).tolist())
        return Compared(quality=qualities, top1=top1)

    def nll_nat(self, ids: Ids, positions: Ids) -> float:
        """Return the negative log-likelihood of the tokens at some positions, the first excluded, each after all before it."""
        logits = self._logits(ids[:-1])
        logp = log_probabilities(logits[torch.from_numpy(positions - 1).to(logits.device)])
        return -float(logp.gather(-1, torch.from_numpy(ids[positions])[:, None].to(logits.device)).sum())

    def all_logits(self, windows: Ids) -> Logits:
        """Return the logits, (tokens, vocabulary), of each window without its last token; windows: (windows, tokens + 1)."""
        return [self._logits(window[:-1]).cpu() for window in windows]

    @torch.inference_mode()
    def _logits(self, window: Ids) -> torch.Tensor:
        ids = torch.from_numpy(window)[None].to(self.device)
        cache = RoundedCache(self._kv_format, self.model.config) if self._kv_format else None
        out: torch.Tensor = (
            self.model(input_ids=ids, past_key_values=cache, use_cache=cache is not None).logits[0].float()
        )
        if not bool(torch.isfinite(out).all()):
            raise NotAModel(
                "The model answers with NaN or infinite logits, with which nothing can be compared.",
                remedy="Check the weights.",
            )
        return out

    @torch.inference_mode()
    def continued(self, prompts: Sequence[Ids], *, n_tokens: int) -> list[list[int]]:
        """Return the most likely ``n_tokens`` after each prompt; prompts of one length are prefilled together.

        Raises:
            NotAvailable: The class decodes otherwise than it reads, so that its answers are not those of the model.
        """
        try:
            self._reader.require_right_in_pieces(chunks=False, batch=1)
        except NotAvailable as error:
            raise NotAvailable(error.cause, remedy=NO_ANSWERS) from error
        answers: list[list[int]] = [[] for _ in prompts]
        by_length: dict[int, list[int]] = {}
        for i, prompt in enumerate(prompts):
            by_length.setdefault(prompt.size, []).append(i)
        for members in by_length.values():
            for at in range(0, len(members), GREEDY_ROWS):
                part = members[at : at + GREEDY_ROWS]
                ids = torch.from_numpy(np.stack([prompts[i] for i in part])).to(self.device)
                tokens = self.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=n_tokens,
                    min_new_tokens=n_tokens,
                    do_sample=False,
                    pad_token_id=0,
                    past_key_values=RoundedCache(self._kv_format, self.model.config) if self._kv_format else None,
                )[:, ids.shape[1] :]
                for i, row in zip(part, tokens.tolist(), strict=True):
                    answers[i] = row
        return answers


def _with_scale_per_token(layer: torch.nn.Module) -> None:
    """Make a layer round its inputs with a scale for each token, also where they have two dimensions, as those of experts.

    compressed-tensors takes one scale for all tokens then.
    """
    args = getattr(getattr(layer, "quantization_scheme", None), "input_activations", None)
    if args is None or args.strategy != "token":
        return
    plain: Callable[[torch.Tensor], torch.Tensor] = layer.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        return plain(x[None])[0] if x.dim() == 2 else plain(x)

    layer.forward = forward
