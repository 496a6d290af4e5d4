"""Times long prompts in vLLM, one at a time. Runs in vLLM's own environment, so it imports nothing of the workbench.

    python contexts.py REQUEST.json

The request (JSON): ``model``, ``kv_cache_dtype``, ``random_weights``, ``contexts``, ``decode_steps``,
``max_model_len``, ``options`` (more arguments of ``vllm.LLM``) and ``seed``. Lines on standard output that begin with
"{" are JSON objects: one with the cache's size when the engine is ready, then one for each context.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm import LLM


def tell(**values: object) -> None:
    """One line for the process that waits."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def first_token_and_steps(llm: "LLM", ids: list[int], *, n_steps: int) -> tuple[float, list[float]]:
    """Return the TTFT of a prompt, and the time of each decode step after it, in seconds."""
    from vllm import SamplingParams

    engine = llm.llm_engine
    sampling = SamplingParams(temperature=0, max_tokens=n_steps + 1, ignore_eos=True, detokenize=False)
    engine.add_request(f"{len(ids)}-{time.monotonic_ns()}", {"prompt_token_ids": ids}, sampling)
    before = time.perf_counter()
    times: list[float] = []
    while engine.has_unfinished_requests():
        outputs = engine.step()
        if outputs:
            now = time.perf_counter()
            times.append(now - before)
            before = now
    return times[0], times[1:]


def main() -> None:
    """Read the request, start the engine and time each context, cold and with its prefix in the cache."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # functions of a file beside this one go to vLLM's worker
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    from packed_weights import cache_bytes  # type: ignore[import-not-found]
    from vllm import LLM

    began = time.perf_counter()
    llm = LLM(
        model=request.model,
        load_format="dummy" if request.random_weights else "auto",
        skip_tokenizer_init=True,
        kv_cache_dtype=request.kv_cache_dtype,
        max_model_len=request.max_model_len,
        max_num_seqs=4,
        enable_prefix_caching=True,
        disable_log_stats=True,
        seed=request.seed,
        **request.options,
    )
    cache = llm.llm_engine.vllm_config.cache_config
    capacity = (cache.num_gpu_blocks or 0) * cache.block_size
    try:
        allocated = sum(llm.collective_rpc(cache_bytes))
    except Exception as error:
        allocated = None
        sys.stderr.write(f"the cache's size cannot be read: {error}\n")
    tell(
        ready_s=time.perf_counter() - began,
        kv_capacity_tokens=capacity,
        kv_allocated_bytes=allocated,
        block_tokens=cache.block_size,
    )
    rng = random.Random(request.seed)
    words = llm.model_config.get_vocab_size()

    def prompt(n: int) -> list[int]:
        return [rng.randrange(words // 2) for _ in range(n)]

    first_token_and_steps(llm, prompt(min(512, request.max_model_len // 2)), n_steps=16)
    for context in request.contexts:
        if context + request.decode_steps + 2 > min(capacity, request.max_model_len):
            tell(context_tokens=context, does_not_fit=True)
            continue
        ids = prompt(context)
        cold, steps = first_token_and_steps(llm, ids, n_steps=request.decode_steps)
        warm, _ = first_token_and_steps(llm, ids, n_steps=1)
        tell(context_tokens=context, ttft_s=cold, ttft_prefix_s=warm, step_s=steps)


if __name__ == "__main__":
    main()
