"""Transformers with continuous batching in this process."""

import json
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from workbench.core.ports import Generation, TokenEvent
from workbench.engines.http import EngineFailed
from workbench.engines.text import Detokenizer, tokenizer_of

BLOCK_TOKENS = {"cpu": 32, "cuda": 256}  # a prefix is shared in whole blocks; flash attention's fast path wants 256
DEFAULT_KV_TOKENS = 32_768  # on a CPU, where transformers would take most of the memory
POLL_S = 0.05


class TorchEngine:
    """Generates with a model folder; requests that come at the same time share forward passes.

    Args:
        folder: A transformers causal language model.
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
        model = _random_model(folder, kind, device) if random_weights else _model(folder, kind, device)
        self._eos = _eos_ids(folder)
        self._info = {"model": str(folder), "device": device, "dtype": str(kind).removeprefix("torch.")}
        self._block_tokens = BLOCK_TOKENS["cpu" if device == "cpu" else "cuda"]
        tokens = kv_tokens or (DEFAULT_KV_TOKENS if device == "cpu" else None)
        limits: dict[str, Any] = {"max_requests_per_batch": max_num_seqs}
        if tokens:
            limits |= {"num_blocks": tokens // self._block_tokens, "max_batch_tokens": 2048}
        if device == "cpu":
            limits["use_async_batching"] = False
        # Without an end-of-text id no request stops early; each request brings its own.
        wish = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
        self._manager = model.init_continuous_batching(
            generation_config=wish,
            continuous_batching_config=ContinuousBatchingConfig(block_size=self._block_tokens, **limits),
        )
        self._n_looked_up = self._n_preempted = 0
        self._counted: Any = None
        self._queues: dict[str, queue.SimpleQueue[Any]] = {}
        self._closed = threading.Event()
        self._manager.start()
        self._router = threading.Thread(target=self._route, daemon=True)
        self._router.start()

    def _route(self) -> None:
        while not self._closed.is_set():
            result = self._manager.get_result(timeout=POLL_S)
            if result is None:
                if not self._manager.is_running() and not self._closed.is_set():
                    for waiting in list(self._queues.values()):
                        waiting.put(None)
                    return
                continue
            waiting_for = self._queues.get(result.request_id)
            if waiting_for is not None:
                waiting_for.put(
                    (
                        time.perf_counter(),
                        tuple(result.generated_tokens),
                        result.is_finished(),
                        result.error,
                        (result.created_time, result.lifespan[0]),
                    )
                )

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """See the protocol; raises ``EngineFailed`` when the engine has died or refuses the prompt."""
        prompt = self._ids(wish.prompt)
        self._n_looked_up += len(prompt)
        name = uuid.uuid4().hex
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
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
                    raise EngineFailed("The torch engine has stopped.", remedy="Its log says why; start it again.")
                at_s, tokens, done, error, (came_s, began_s) = answer
                if error:
                    raise EngineFailed(f"The torch engine refuses the request: {error}.", remedy="Shorten the prompt.")
                new = tokens[n_seen:]
                n_seen = len(tokens)
                if not new and not done:
                    continue
                stopped = bool(new) and not wish.ignore_eos and new[-1] in self._eos
                yield TokenEvent(
                    at_s=at_s,
                    text=detokenizer.text(new) if detokenizer else " ?" * len(new),
                    token_ids=new,
                    n_input_tokens=len(prompt),
                    n_output_tokens=n_seen,
                    finish_reason=("stop" if stopped else "length") if done else None,
                    queued_s=max(0.0, began_s - came_s) if len(new) == n_seen else None,
                    began_at_s=began_s if len(new) == n_seen else None,
                )
        finally:
            self._queues.pop(name, None)
            if not done:
                self._manager.cancel_request(name)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Token ids of a text; raises ``EngineFailed`` for an empty one or a model without tokenizer."""
        return self._ids(text)

    def counters(self) -> Mapping[str, float]:
        """Queue, cache and prefix lookups of now; empty until the engine has begun its first step."""
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

    def _count_preemptions(self, processor: Any) -> None:
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

    def describe(self) -> Mapping[str, Any]:
        """Engine, version, model, precision and device."""
        return {
            "engine": "torch",
            "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
            **self._info,
        }

    def close(self) -> None:
        """Stop the batching thread."""
        if not self._closed.is_set():
            self._closed.set()
            self._manager.stop(block=True, timeout=10)


def _model(folder: Path, dtype: torch.dtype, device: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()


def _random_model(folder: Path, dtype: torch.dtype, device: str) -> Any:
    config = transformers.AutoConfig.from_pretrained(folder)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return AutoModelForCausalLM.from_config(config).eval()
    finally:
        torch.set_default_dtype(default)


def _eos_ids(folder: Path) -> frozenset[int]:
    """Ids that end a text, as the generation settings or the configuration name them."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        found = json.loads(path.read_text()).get("eos_token_id") if path.exists() else None
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()
