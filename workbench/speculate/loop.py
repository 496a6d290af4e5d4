"""Greedy decoding of a batch with and without speculation; both write the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from transformers import PreTrainedModel

from workbench.speculate.ngram import NgramIndex
from workbench.speculate.ragged import RaggedModel

NOTHING = -1
"""In the place of a draft token that was not proposed."""


@dataclass(slots=True)
class Texts:
    """The sequences of a batch."""

    tokens: list[list[int]]
    """Prompt and answer of each; the last one is not in the cache."""
    accepted: list[list[int]] = field(default_factory=list)
    """Draft tokens that were accepted, by step and sequence."""
    proposed: list[list[int]] = field(default_factory=list)
    """Draft tokens that were proposed, by step and sequence."""

    @property
    def lengths(self) -> list[int]:
        """Return the tokens of each sequence in the cache."""
        return [len(t) - 1 for t in self.tokens]


class Drafter(Protocol):
    """What guesses the next tokens."""

    def begin(self, prompts: torch.Tensor, *, room: int) -> None:
        """Take prompts of one length: (batch, tokens)."""

    def drafts(self, texts: Texts, k: int) -> torch.Tensor | None:
        """Return k tokens for each sequence, ``NOTHING`` where none is proposed: (batch, k); None where none is for any."""


class NgramDrafter:
    """Looks up what followed the same tokens earlier in each text."""

    def __init__(self, *, shortest: int, longest: int, device: torch.device) -> None:
        self.shortest, self.longest, self.device = shortest, longest, device
        self._indexes: list[NgramIndex] = []

    def begin(self, prompts: torch.Tensor, *, room: int) -> None:  # noqa: ARG002
        """Take prompts of one length."""
        self._indexes = [NgramIndex(p, shortest=self.shortest, longest=self.longest) for p in prompts.tolist()]

    def drafts(self, texts: Texts, k: int) -> torch.Tensor | None:
        """Return what followed; None where no sequence has such a place."""
        rows = []
        for index, tokens in zip(self._indexes, texts.tokens, strict=True):
            index.extend(tokens[len(index.tokens) :])
            proposal = index.proposal(k)
            rows.append(proposal + [NOTHING] * (k - len(proposal)))
        if all(row[0] == NOTHING for row in rows):
            return None
        return torch.tensor(rows, device=self.device)


class ModelDrafter:
    """A smaller model with the same tokens."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._ragged: RaggedModel | None = None

    def begin(self, prompts: torch.Tensor, *, room: int) -> None:
        """Read prompts of one length."""
        self._ragged = RaggedModel(self.model, room=room)
        self._ragged.read(prompts, prompts.new_zeros(len(prompts)), longest=0)

    def drafts(self, texts: Texts, k: int) -> torch.Tensor | None:
        """Return the draft model's own greedy continuation.

        It reads the last two tokens of each text first: of a step in which all drafts were accepted it has not read the last one.
        """
        assert self._ragged is not None
        at = [n - 1 for n in texts.lengths]
        ids = torch.tensor([t[-2:] for t in texts.tokens], device=self.model.device)
        where, made = torch.tensor(at, device=ids.device), []
        for i in range(k):
            n = ids.shape[1]
            logits = self._ragged.read(ids, where, longest=max(at) + i + (i > 0))
            where, ids = where + n, logits[:, -1].argmax(-1, keepdim=True)
            made.append(ids)
        return torch.cat(made, dim=1)


class Decoding:
    """A batch of texts that a model continues step by step.

    Args:
        model: Whose greedy answers are written.
        prompts: (batch, tokens)
        room: Most tokens of a text, drafts included.
        drafter: What guesses; None decodes one token at a time.
        k: Draft tokens of a step.
    """

    def __init__(
        self, model: PreTrainedModel, prompts: torch.Tensor, *, room: int, drafter: Drafter | None = None, k: int = 0
    ) -> None:
        self.texts, self.drafter, self.k = Texts(prompts.tolist()), drafter, k
        self._ragged = RaggedModel(model, room=room)
        self._ragged.read(prompts[:, :-1], prompts.new_zeros(len(prompts)), longest=0)
        if drafter is not None:
            drafter.begin(prompts, room=room)

    @torch.inference_mode()
    def step(self) -> None:
        """Write one token to each text, and the drafts before it that the model would have written itself."""
        drafts = self.drafter.drafts(self.texts, self.k) if self.drafter else None
        answers = self.verified(drafts)
        guesses = [[]] * len(answers) if drafts is None else drafts.tolist()
        accepted = []
        for tokens, guess, answer in zip(self.texts.tokens, guesses, answers, strict=True):
            n = n_accepted(guess, answer)
            tokens.extend(answer[: n + 1])
            accepted.append(n)
        self.texts.accepted.append(accepted)
        self.texts.proposed.append([sum(g != NOTHING for g in guess) for guess in guesses])

    def verified(self, drafts: torch.Tensor | None) -> list[list[int]]:
        """Return the model's own token after the last one of each text and after each draft token: (batch, k + 1)."""
        lengths = self.texts.lengths
        at = torch.tensor(lengths, device=self._ragged.model.device)
        ids = torch.tensor([[t[-1]] for t in self.texts.tokens], device=at.device)
        if drafts is not None:
            ids = torch.cat([ids, drafts.clamp(min=0)], dim=1)
        logits = self._ragged.read(ids, at, longest=max(lengths))
        answers: list[list[int]] = logits.argmax(-1).tolist()
        return answers


def n_accepted(guess: Sequence[int], answer: Sequence[int]) -> int:
    """Return how many draft tokens, from the first on, are what the model writes itself."""
    n = 0
    while n < len(guess) and guess[n] == answer[n]:
        n += 1
    return n
