"""Transformers with continuous batching in this process."""

import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from workbench.core.errors import NotAvailable
from workbench.core.ports import EngineLimits, Generation, TokenEvent
from workbench.engines.http import EngineFailed, EngineStopped
from workbench.engines.paged_check import Reference, reference_of, require_same_tokens
from workbench.engines.text import Detokenizer, eos_ids, require_known_ids, require_words_within, tokenizer_of
from workbench.understanding.reading import CausalReader, context_limit, open_causal_model, refused_in_words

if TYPE_CHECKING:
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor

BLOCK_TOKENS = {"cpu": 32, "cuda": 256}  # a prefix is shared in whole blocks; flash attention's fast path wants 256
DEFAULT_KV_TOKENS = 32_768  # on a CPU, where transformers would take most of the memory
POLL_S = 0.05
STUCK_S = 300.0
"""Longest time without a token of any request under way before the engine counts as stuck."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a request has got so far."""

    at_s: float
    tokens: tuple[int, ...]
    is_done: bool
    error: str | None
    came_s: float
    """When the engine got the request."""
    began_s: float
    """When the engine began to work on it."""


class TorchEngine:
    """Generates with a transformers causal language model; requests that come at the same time share forward passes.

    Args:
        folder: Of the model.
        device: "cpu" or "cuda".
        dtype: "float32" or "bfloat16"; None: float32 on a CPU, bfloat16 on a GPU.
        kv_tokens: Tokens that the KV cache holds; None: what transformers chooses on a GPU, 32 768 on a CPU.
        max_num_seqs: Most requests that share a forward pass; None: what transformers chooses.
        random_weights: Only the shape counts: answers mean nothing.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        kv_tokens: int | None = None,
        max_num_seqs: int | None = None,
        random_weights: bool = False,
    ) -> None:
        self._tokenizer = tokenizer_of(folder) if not random_weights or (folder / "tokenizer.json").exists() else None
        kind = getattr(torch, dtype or ("float32" if device == "cpu" else "bfloat16"))
        model = open_causal_model(str(folder), dtype=kind, device=device, random_weights=random_weights)
        self._eos = eos_ids(folder)
        self._info = {"model": str(folder), "device": device, "dtype": str(kind).removeprefix("torch.")}
        self._block_tokens = BLOCK_TOKENS["cpu" if device == "cpu" else "cuda"]
        tokens = kv_tokens or (DEFAULT_KV_TOKENS if device == "cpu" else None)
        limits: dict[str, int | bool | None] = {"max_requests_per_batch": max_num_seqs}
        if tokens:
            limits |= {"num_blocks": tokens // self._block_tokens, "max_batch_tokens": 2048}
        if device == "cpu":
            limits["use_async_batching"] = False
        held = [n for n in (context_limit(model.config), tokens) if n]
        vocabulary = CausalReader(model).n_words
        if self._tokenizer is not None:
            require_words_within(self._tokenizer, vocabulary)
        reference = None if random_weights else reference_of(model, n_vocab=vocabulary)
        self._limits = EngineLimits(n_vocab=vocabulary, max_model_len=min(held) if held else None)
        self._last_token_s = time.perf_counter()
        # Without an end-of-text id no request stops early; each request brings its own.
        wish = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
        with refused_in_words(model, "be served by continuous batching of transformers"):
            self._manager = model.init_continuous_batching(
                generation_config=wish,
                continuous_batching_config=ContinuousBatchingConfig(block_size=self._block_tokens, **limits),
            )
        if not model.config.get_text_config()._attn_implementation.startswith("paged|"):  # noqa: SLF001 - set above, named nowhere else
            raise NotAvailable(
                f"{type(model).__name__} has an attention of its own, which does not read the paged cache of continuous batching.",
                remedy="Serve the model with --engine vllm.",
            )
        self._n_looked_up = self._n_preempted = 0
        self._counted: ContinuousBatchProcessor | None = None
        self._queues: dict[str, queue.SimpleQueue[_Answer | None]] = {}
        self._closed = threading.Event()
        self._manager.start()
        self._router = threading.Thread(target=self._route, daemon=True)
        self._router.start()
        if reference is not None:
            self._check(reference, type(model).__name__)

    def _check(self, reference: Reference, architecture: str) -> None:
        """Close the engine and raise ``NotAvailable`` where it does not answer as the model does."""
        n = len(reference.tokens)
        wishes = [
            Generation(prompt=p, max_tokens=n, ignore_eos=True) for p in (reference.prompt, reference.prompt[::-1])
        ]
        try:
            with ThreadPoolExecutor() as threads:
                events, _ = threads.map(lambda wish: list(self.generate(wish)), wishes)
            answer = [token for event in events for token in event.token_ids]
            require_same_tokens(reference, answer, architecture=architecture)
        except EngineFailed as error:
            self.close()
            cause = f"Continuous batching of transformers cannot run {architecture}: {error.cause}"
            raise NotAvailable(cause, remedy="Serve the model with --engine vllm.") from error
        except NotAvailable:
            self.close()
            raise
        self._n_looked_up = 0

    def _route(self) -> None:
        while not self._closed.is_set():
            result = self._manager.get_result(timeout=POLL_S)
            if result is None:
                if not self._manager.is_running() and not self._closed.is_set():
                    for waiting in list(self._queues.values()):
                        waiting.put(None)
                    self._closed.wait(POLL_S)
                continue
            self._last_token_s = time.perf_counter()
            waiting_for = self._queues.get(result.request_id)
            if waiting_for is not None:
                at_s, tokens = time.perf_counter(), tuple(result.generated_tokens)
                came_s, began_s = result.created_time, result.lifespan[0]
                waiting_for.put(_Answer(at_s, tokens, result.is_finished(), result.error, came_s, began_s))

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Yield the tokens of an answer; raises ``EngineFailed`` when the engine has died or refuses the prompt."""
        prompt = self._ids(wish.prompt)
        require_known_ids(prompt, self._limits.n_vocab)
        self._n_looked_up += len(prompt)
        if cause := self.problem():
            raise EngineStopped(cause, remedy="Its log says why; start it again.")
        name = uuid.uuid4().hex
        if not self._queues:
            self._last_token_s = time.perf_counter()
        answers: queue.SimpleQueue[_Answer | None] = queue.SimpleQueue()
        self._queues[name] = answers
        detokenizer = Detokenizer(self._tokenizer) if self._tokenizer else None
        eos = -1 if wish.ignore_eos or not self._eos else list(self._eos)
        done = False
        try:
            self._manager.add_request(
                list(prompt), request_id=name, max_new_tokens=wish.max_tokens, streaming=True, eos_token_id=eos
            )
            n_seen = 0
            while not done:
                answer = answers.get()
                if answer is None:
                    raise EngineStopped(self._stopped() or "It ended.", remedy="Its log says why; start it again.")
                done = answer.is_done
                if answer.error and (reason := self._stopped()):
                    raise EngineStopped(reason, remedy="Its log says why; start it again.")
                if answer.error:
                    cause = f"The torch engine refuses the request: {answer.error}."
                    raise EngineFailed(cause, remedy="Shorten the prompt.")
                new = answer.tokens[n_seen:]
                n_seen = len(answer.tokens)
                if not new and not done:
                    continue
                stopped = bool(new) and not wish.ignore_eos and new[-1] in self._eos
                yield TokenEvent(
                    at_s=answer.at_s,
                    text=detokenizer.text(new) if detokenizer else " ?" * len(new),
                    token_ids=new,
                    n_input_tokens=len(prompt),
                    n_output_tokens=n_seen,
                    finish_reason=("stop" if stopped else "length") if done else None,
                    queued_s=max(0.0, answer.began_s - answer.came_s) if len(new) == n_seen else None,
                    began_at_s=answer.began_s if len(new) == n_seen else None,
                )
        finally:
            self._queues.pop(name, None)
            if not done:
                self._manager.cancel_request(name)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text; raises ``EngineFailed`` for an empty one or a model without tokenizer."""
        return self._ids(text)

    def limits(self) -> EngineLimits:
        """Return the vocabulary, and the shorter of the model's context and the KV cache."""
        return self._limits

    def problem(self) -> str | None:
        """Return why no request is answered any more: the thread that runs batches has ended, or gets no further."""
        if stopped := self._stopped():
            return stopped
        silent_s = time.perf_counter() - self._last_token_s
        if self._queues and silent_s > STUCK_S:
            return f"The torch engine has answered nothing for {silent_s:.0f} s, with {len(self._queues)} requests under way."
        return None

    def _stopped(self) -> str | None:
        error = self._manager.background_thread_status.fatal_error
        if error is not None:
            text = (str(error).splitlines() or [""])[0][:200]
            return f"The torch engine has stopped: {type(error).__name__}: {text.rstrip('.: ')}."
        return None if self._manager.is_running() and not self._closed.is_set() else "The torch engine has stopped."

    def counters(self) -> Mapping[str, float]:
        """Return the present queue, cache and prefix counters; empty until the engine has begun its first step."""
        processor = self._manager.batch_processor
        if processor is None:
            return {}
        if self._counted is not processor:
            self._count_preemptions(processor)
        cache = processor.cache
        return {
            "num_requests_running": len(processor.scheduler.active_requests),
            "num_requests_waiting": len(processor.scheduler.waiting_requests) + self._manager.input_queue.qsize(),
            "kv_cache_usage_perc": 1 - cache.get_num_free_blocks() / cache.num_blocks,
            "num_preemptions_total": self._n_preempted,
            "prefix_cache_queries_total": self._n_looked_up,
            "prefix_cache_hits_total": cache._total_prefix_length,  # noqa: SLF001 - told nowhere else
            "num_gpu_blocks": cache.num_blocks,
            "block_size": self._block_tokens,
            "max_num_seqs": processor.scheduler.max_requests_per_batch,
        }

    def _count_preemptions(self, processor: "ContinuousBatchProcessor") -> None:
        """Count the requests that give their cache up for others."""
        offload = processor.offloading_manager.offload_requests

        def counted() -> int:
            n: int = offload()
            self._n_preempted += n
            return n

        processor.offloading_manager.offload_requests = counted
        self._counted = processor

    def _ids(self, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
        if not isinstance(prompt, str):
            return prompt
        if self._tokenizer is None:
            raise EngineFailed("This model has no tokenizer.", remedy="Send token ids.")
        ids = tuple(self._tokenizer.encode(prompt).ids)
        if not ids:
            raise EngineFailed("The prompt is empty.", remedy="Send at least one token.")
        return ids

    def describe(self) -> Mapping[str, str | None]:
        """Return engine, version, model, precision and device."""
        version = f"transformers {transformers.__version__}, torch {torch.__version__}"
        return {"engine": "torch", "version": version, **self._info}

    def close(self) -> None:
        """Stop the thread that runs batches."""
        if not self._closed.is_set():
            self._closed.set()
            self._manager.stop(block=True, timeout=10)
