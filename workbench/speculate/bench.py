"""Batches of texts that a model continues with and without drafts, and the time of each part of a step."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.speculate.loop import Decoding, Drafter, ModelDrafter, NgramDrafter
from workbench.speculate.ragged import require_plain_cache, require_same_when_ragged
from workbench.understanding.reading import open_causal_model, refused_in_words

Ids: TypeAlias = npt.NDArray[np.int64]
SLACK = 4  # places in the cache beyond the last draft token
Variant: TypeAlias = tuple[str, int]
"""A method, "ngram", "draft" or "plain", and its draft tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """What became of the texts of a batch in a number of steps."""

    answers: tuple[tuple[int, ...], ...]
    """Tokens that were written to each text."""
    accepted: npt.NDArray[np.int64]
    """(steps, texts)"""
    proposed: npt.NDArray[np.int64]
    """(steps, texts)"""
    seconds: float
    """Of all steps, prefill left out."""

    @property
    def n_tokens(self) -> int:
        """Return the tokens that were written to all texts."""
        return sum(map(len, self.answers))


class SpeculationBench:
    """A model, and a draft model where one is given, on one device.

    On a processor one thread is used and its processor time is measured, so that other programs do not count.

    Raises:
        NotAModel: A folder cannot be read.
        NotAvailable: Rejected drafts cannot be taken back from the model's cache.
        InvalidSpec: The draft model has other tokens.
    """

    def __init__(self, target: str, *, draft: str | None, device: str, shortest: int, longest: int) -> None:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        self.device, self._lengths = device, (shortest, longest)
        self.target = open_causal_model(target, dtype=dtype, device=device)
        require_plain_cache(self.target)
        require_same_when_ragged(self.target)
        self.n_words = _n_words(self.target)
        self.draft: PreTrainedModel | None = None
        if draft is not None:
            self.draft = open_causal_model(draft, dtype=dtype, device=device)
            require_plain_cache(self.draft)
            if _n_words(self.draft) != self.n_words:
                raise InvalidSpec(
                    gettext("The draft model has {n} tokens and the model {others}.").format(
                        n=f"{_n_words(self.draft):,}", others=f"{self.n_words:,}"
                    ),
                    remedy=gettext("Choose a draft model that was made with the model's tokenizer."),
                )

    def now_s(self) -> float:
        """Return the clock of this device: processor time of this process, or the time when the GPU has done its work."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    def _drafter(self, method: str) -> Drafter | None:
        if method == "ngram":
            return NgramDrafter(shortest=self._lengths[0], longest=self._lengths[1], device=self.target.device)
        return ModelDrafter(self.draft) if self.draft is not None and method == "draft" else None

    def _decoding(self, prompts: Ids, method: str, k: int, steps: int) -> Decoding:
        room = prompts.shape[1] + steps * (k + 1) + k + SLACK
        ids = torch.from_numpy(prompts).to(self.target.device)
        with torch.inference_mode():
            return Decoding(self.target, ids, room=room, drafter=self._drafter(method), k=k)

    def continued(self, prompts: Ids, *, variants: Sequence[Variant], steps: int) -> dict[Variant, Continued]:
        """Return what the model writes to prompts, (texts, tokens), in so many steps, by variant.

        The variants take each step one after the other, so that what slows the machine slows all of them.
        """
        with one_thread(self.device), refused_in_words(self.target, "decode a batch"):
            decodings = {(m, k): self._decoding(prompts, m, k, steps) for m, k in variants}
            seconds = dict.fromkeys(decodings, 0.0)
            for _ in range(steps):
                for variant, decoding in decodings.items():
                    began_s = self.now_s()
                    decoding.step()
                    seconds[variant] += self.now_s() - began_s
        return {
            variant: Continued(
                answers=tuple(tuple(t[prompts.shape[1] :]) for t in decoding.texts.tokens),
                accepted=np.array(decoding.texts.accepted, dtype=np.int64),
                proposed=np.array(decoding.texts.proposed, dtype=np.int64),
                seconds=seconds[variant],
            )
            for variant, decoding in decodings.items()
        }

    def parts_s(self, prompts: Ids, *, parts: Sequence[Variant], calls: int) -> dict[Variant, float]:
        """Return the time of each part of a step, called one after the other: ("verify", k) verifies k draft tokens of each text.

        ("verify", 0) is a plain step; a method with k makes k draft tokens for each text.
        """
        with one_thread(self.device), torch.inference_mode():
            doing = {part: self._part(prompts, *part) for part in parts}
            for do in doing.values():
                do()
            seconds = dict.fromkeys(doing, 0.0)
            for _ in range(calls):
                for part, do in doing.items():
                    began_s = self.now_s()
                    do()
                    seconds[part] += self.now_s() - began_s
        return {part: total / calls for part, total in seconds.items()}

    def _part(self, prompts: Ids, what: str, k: int) -> Callable[[], object]:
        decoding = self._decoding(prompts, "plain" if what == "verify" else what, k, 1)
        if what == "verify":
            guesses = torch.from_numpy(prompts[:, :k]).to(self.target.device) if k else None
            return lambda: decoding.verified(guesses)
        drafter = decoding.drafter
        assert drafter is not None
        return lambda: drafter.drafts(decoding.texts, k)


@contextmanager
def one_thread(device: str) -> Iterator[None]:
    """Let torch use one thread of a processor meanwhile."""
    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _n_words(model: PreTrainedModel) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def repeated_fraction(answers: Sequence[Sequence[int]], *, run: int = 8) -> float:
    """Return the share of tokens that end a run which the same answer had before: models that decode greedily fall into loops."""
    repeated = total = 0
    for answer in answers:
        seen: set[tuple[int, ...]] = set()
        for end in range(run, len(answer) + 1):
            key = tuple(answer[end - run : end])
            repeated += key in seen
            seen.add(key)
        total += max(0, len(answer) - run + 1)
    return repeated / total if total else 0.0
