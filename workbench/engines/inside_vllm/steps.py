"""Times vLLM's steps from inside. Runs in vLLM's own environment, so it imports nothing of the workbench.

    python steps.py REQUEST.json

The request (JSON): ``model``, ``kv_cache_dtype``, ``random_weights``, ``cells`` (pairs of batch and context),
``decode_steps``, ``max_model_len``, ``options`` (more arguments of ``vllm.LLM``) and ``seed``. Lines on standard
output that begin with "{" are JSON objects: one with ``kv_capacity_tokens`` when the engine is ready, then one for
each cell. Where several engines start together on the same devices, WORKBENCH_TURN names a file that they lock: none measures before all
have started, and then one at a time.
"""

import fcntl
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


def measure_cell(llm: "LLM", *, batch: int, context: int, n_steps: int, rng: random.Random) -> dict[str, object]:
    """Return the time until the prefill of all prompts is done, and that of each decode step of the whole batch."""
    from vllm import SamplingParams

    engine = llm.llm_engine
    words = llm.model_config.get_vocab_size()
    sampling = SamplingParams(temperature=0, max_tokens=4096, ignore_eos=True, detokenize=False)
    tokens: dict[str, int] = {}
    for i in range(batch):
        ids = [rng.randrange(words // 2) for _ in range(context)]
        name = f"{batch}-{context}-{i}-{time.monotonic_ns()}"
        engine.add_request(name, {"prompt_token_ids": ids}, sampling)
    started = time.perf_counter()
    read_s: float | None = None
    steps: list[float] = []
    before = started
    while len(steps) < n_steps:
        if not engine.has_unfinished_requests():
            raise RuntimeError(f"batch {batch} x {context} tokens ended after {len(steps)} common steps")
        outputs = engine.step()
        now = time.perf_counter()
        for output in outputs:
            tokens[output.request_id] = len(output.outputs[0].token_ids)
        if read_s is None:
            if len(tokens) == batch:
                read_s = now - started
        elif any(output.finished for output in outputs):
            raise RuntimeError(f"batch {batch} x {context} tokens: a sequence ended after {len(steps)} common steps")
        elif len(outputs) == batch:
            steps.append(now - before)
        before = now
    engine.abort_request(list(tokens))
    while engine.has_unfinished_requests():
        engine.step()
    return {"batch": batch, "context_tokens": context, "prefill_s": read_s, "step_s": steps[2:]}


def main() -> None:
    """Read the request, start the engine and time the cells."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # a function of this file goes to vLLM's worker
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    from packed_weights import fill_packed_weights  # type: ignore[import-not-found]
    from vllm import LLM

    turn = Path(os.environ["WORKBENCH_TURN"]).open("w") if "WORKBENCH_TURN" in os.environ else None  # noqa: SIM115 - held to the end
    if turn is not None:
        fcntl.flock(turn, fcntl.LOCK_SH)
    began = time.perf_counter()
    llm = LLM(
        model=request.model,
        load_format="dummy" if request.random_weights else "auto",
        skip_tokenizer_init=True,
        kv_cache_dtype=request.kv_cache_dtype,
        max_model_len=request.max_model_len,
        max_num_seqs=max(batch for batch, _ in request.cells),
        enable_prefix_caching=False,
        disable_log_stats=True,
        seed=request.seed,
        **request.options,
    )
    if request.random_weights:
        llm.apply_model(fill_packed_weights)
    cache = llm.llm_engine.vllm_config.cache_config
    scheduler = llm.llm_engine.vllm_config.scheduler_config
    capacity = (cache.num_gpu_blocks or 0) * cache.block_size
    tell(
        ready_s=time.perf_counter() - began,
        kv_capacity_tokens=capacity,
        max_num_batched_tokens=scheduler.max_num_batched_tokens,
    )
    if turn is not None:
        fcntl.flock(turn, fcntl.LOCK_EX)
    rng = random.Random(request.seed)
    measure_cell(llm, batch=2, context=min(256, request.max_model_len - 64), n_steps=16, rng=rng)
    for batch, context in request.cells:
        if batch * (context + request.decode_steps + 8) > capacity:
            tell(batch=batch, context_tokens=context, does_not_fit=True)
            continue
        n_steps = request.decode_steps
        tell(**measure_cell(llm, batch=batch, context=context, n_steps=n_steps, rng=rng))


if __name__ == "__main__":
    main()
