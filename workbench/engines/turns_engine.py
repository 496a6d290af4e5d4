"""Transformers without continuous batching, in this process: each request keeps its own memory, and requests take turns token by token."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import transformers

from workbench.core.ports import EngineLimits, Generation, TokenEvent
from workbench.engines.http import EngineFailed
from workbench.engines.paged_check import Reference, reference_of, require_same_tokens
from workbench.engines.text import Detokenizer, eos_ids, require_known_ids, require_words_within, tokenizer_of
from workbench.understanding.reading import CausalReader, context_limit, open_causal_model


class TurnsEngine:
    """Generates with any causal language model of transformers, also with one that continuous batching does not run rightly.

    Requests do not share forward passes: a second one at the same time halves the speed of the first.

    Raises:
        NotAModel: The folder cannot be read, or the model answers with NaN.
        NotAvailable: Its class gives other answers with its own memory than without.

    Args:
        folder: Of the model.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16"; None: float32 on a CPU, bfloat16 on a GPU.
        random_weights: Only the shape counts: answers mean nothing.
        reason: Why the requests do not share forward passes.
    """

    def __init__(
        self, folder: Path, *, device: str, dtype: str | None = None, random_weights: bool = False, reason: str
    ) -> None:
        kind = getattr(torch, dtype or ("float32" if device == "cpu" else "bfloat16"))
        has_tokenizer = not random_weights or (folder / "tokenizer.json").exists()
        self._tokenizer = tokenizer_of(folder) if has_tokenizer else None
        model = open_causal_model(str(folder), dtype=kind, device=device, random_weights=random_weights)
        self._reader = CausalReader(model)
        if self._tokenizer is not None:
            require_words_within(self._tokenizer, self._reader.n_words)
        self._reader.require_right_in_pieces(chunks=False, batch=1)
        self._eos = eos_ids(folder)
        self._limits = EngineLimits(n_vocab=self._reader.n_words, max_model_len=context_limit(model.config))
        self._info = {
            "model": str(folder),
            "device": device,
            "dtype": str(kind).removeprefix("torch."),
            "turns": reason,
        }
        self._turn = threading.Lock()
        self._closed = False
        if not random_weights:
            self._check(reference_of(model, n_vocab=self._reader.n_words), type(model).__name__)

    def _check(self, reference: Reference, architecture: str) -> None:
        """Answer two requests interleaved, and compare the first: some classes keep what they have read in the model itself."""
        n = len(reference.tokens)
        own = self.generate(Generation(prompt=reference.prompt, max_tokens=n, ignore_eos=True))
        other = self.generate(Generation(prompt=reference.prompt[::-1], max_tokens=n, ignore_eos=True))
        answer = [token for event, _ in zip(own, other, strict=True) for token in event.token_ids]
        require_same_tokens(reference, answer, architecture=architecture, what="Taking turns between requests")

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Yield the tokens of an answer; raises ``EngineFailed`` for a prompt that is empty or that the model cannot read."""
        prompt = self.tokenize(wish.prompt) if isinstance(wish.prompt, str) else wish.prompt
        require_known_ids(prompt, self._limits.n_vocab)
        detokenizer = Detokenizer(self._tokenizer) if self._tokenizer else None
        came_s = began_s = time.perf_counter()
        step, memory = torch.tensor([prompt], device=self._reader.model.device), None
        for number in range(1, wish.max_tokens + 1):
            with self._turn:
                began_s = time.perf_counter() if number == 1 else began_s
                token, memory = self._next(step, memory)
            stopped = not wish.ignore_eos and token in self._eos
            last = stopped or number == wish.max_tokens
            yield TokenEvent(
                at_s=time.perf_counter(),
                text=detokenizer.text((token,)) if detokenizer else " ?",
                token_ids=(token,),
                n_input_tokens=len(prompt),
                n_output_tokens=number,
                finish_reason=("stop" if stopped else "length") if last else None,
                queued_s=max(0.0, began_s - came_s) if number == 1 else None,
                began_at_s=began_s if number == 1 else None,
            )
            if last:
                return
            step = torch.tensor([[token]], device=self._reader.model.device)

    @torch.inference_mode()
    def _next(self, ids: torch.Tensor, memory: object) -> tuple[int, object]:
        if self._closed:
            raise EngineFailed("The torch engine is closed.", remedy="Start it again.")
        try:
            logits, memory = self._reader.read(ids, memory)
        except (RuntimeError, IndexError, ValueError) as error:
            raise EngineFailed(f"The model cannot read this prompt: {error}.", remedy="Shorten the prompt.") from error
        return int(logits[0, -1].argmax()), memory

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text; raises ``EngineFailed`` for an empty one or a model without tokenizer."""
        if self._tokenizer is None:
            raise EngineFailed("This model has no tokenizer.", remedy="Send token ids.")
        ids = tuple(self._tokenizer.encode(text).ids)
        if not ids:
            raise EngineFailed("The prompt is empty.", remedy="Send at least one token.")
        return ids

    def limits(self) -> EngineLimits:
        """Return the vocabulary and the model's context."""
        return self._limits

    def problem(self) -> str | None:
        """Return why no request is answered: only a closed engine answers none."""
        return "The torch engine is closed." if self._closed else None

    def counters(self) -> Mapping[str, float]:
        """Return no counters: the engine has neither a scheduler nor a shared cache."""
        return {}

    def describe(self) -> Mapping[str, str | None]:
        """Return engine, version, model, precision, device, and why requests take turns."""
        version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        return {"engine": "torch", "version": version, **self._info}

    def close(self) -> None:
        """Let requests under way end with an error."""
        self._closed = True
