"""Steps of a causal language model with and without a technique, and a profile of one."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import torch
from tokenizers import Tokenizer
from torch.profiler import ProfilerActivity, profile
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from workbench.catalog.paths import REFERENCE_MODEL, located
from workbench.compress.spec import QuantizationSpec, StepWork
from workbench.compress.torch_model import TorchModel, load_model
from workbench.core.language import gettext_noop
from workbench.understanding.reading import CausalReader, refused_in_words

WARM_UP = 3
REQUESTS = 6  # that are prepared and prefilled one after the other
TEXT_WORDS = 1200  # of each: a document that is tokenized for its last words' answer
GEMM_ROWS = 1024
COPY_BYTES = 128 << 20
# Parts of operator names, in the order in which they are looked for.
CATEGORIES = (
    (gettext_noop("matrix products"), ("mm", "gemm", "linear", "matmul", "cutlass", "nvjet", "cublas", "mkldnn")),
    (gettext_noop("attention"), ("attention", "flash", "fmha", "sdpa")),
    (
        gettext_noop("copies and layout"),
        ("copy", "cat", "index", "slice", "transpose", "contiguous", "memcpy", "memset", "fill", "clone", "to"),
    ),
    (gettext_noop("other arithmetic"), ()),
)


Step: TypeAlias = Callable[[], object]
"""Work that is timed; a step that times its own parts returns their seconds as a list."""


class TechniqueSteps:
    """A model with steps to time; every step ends when the device has finished."""

    def __init__(self, spec: StepWork, *, device: str) -> None:
        self.spec, self.device = spec, device
        self.asked = QuantizationSpec(
            model=located(spec.model),
            random_weights=spec.random_weights,
            seed=spec.seed,
            prompt_tokens=spec.context_tokens,
            decode_tokens=4,
            compile="off",
        )
        self.model = load_model(self.asked, dtype=torch.float32, device=device)
        self._low: PreTrainedModel | None = None

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def timed(self, step: Step) -> float:
        """Return the seconds of one step; where it times its own parts, their sum."""
        self._wait()
        began = time.perf_counter()
        parts = step()
        self._wait()
        return float(sum(parts)) if isinstance(parts, list) else time.perf_counter() - began

    def _ids(self, batch: int, n: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.spec.seed)
        return torch.randint(CausalReader(self.model).n_words, (batch, n), generator=generator).to(self.device)

    @torch.inference_mode()
    def decoding(self, batch: int, model: PreTrainedModel | None = None) -> Step:
        """Return a decode step of ``batch`` sequences over the spec's context; keys and values of a step are dropped before the next."""
        reader = CausalReader(model if model is not None else self.model)
        ids, length = self._ids(batch, self.spec.context_tokens), self.spec.context_tokens
        with refused_in_words(reader.model, "decode token by token"):
            memory = reader.begin(ids)[1]
            memory = reader.read(ids[:, -1:], memory)[1]
        kept = (
            memory if isinstance(memory, DynamicCache) and all(type(x) is DynamicLayer for x in memory.layers) else None
        )

        @torch.inference_mode()
        def step() -> None:
            nonlocal memory
            if kept is not None:
                kept.crop(length)
            memory = reader.read(ids[:, -1:], memory)[1]

        for _ in range(WARM_UP):
            step()
        return step

    @torch.inference_mode()
    def reading(self, batch: int, model: PreTrainedModel | None = None) -> Step:
        """Return a prefill of ``batch`` prompts of the spec's context."""
        reader = CausalReader(model if model is not None else self.model)
        ids = self._ids(batch, self.spec.context_tokens)

        def step() -> None:
            reader.end(ids)

        for _ in range(WARM_UP):
            step()
        return step

    @property
    def low(self) -> PreTrainedModel:
        """The model in bfloat16, loaded at first use."""
        if self._low is None:
            self._low = load_model(self.asked, dtype=torch.bfloat16, device=self.device)
        return self._low

    def compiled(self) -> Step:
        """Return decode steps of one sequence with compiled parts, which time themselves; on a GPU they are replayed as a CUDA graph."""
        spec = replace(self.asked, compile="on")
        variant = TorchModel(spec, "fp32", device=self.device)
        variant.decode_s(1)
        return lambda: variant.decode_s(1)

    def eager_static(self) -> Step:
        """Return the decode steps of ``compiled`` without compilation."""
        variant = TorchModel(self.asked, "fp32", device=self.device)
        variant.decode_s(1)
        return lambda: variant.decode_s(1)

    def requests(self, *, overlapped: bool) -> Step:
        """Return a series of requests, each tokenized, copied and prefilled; with overlap a thread prepares the next one meanwhile."""
        own = Path(self.asked.model) / "tokenizer.json"  # a mere shape has none
        tokenizer = Tokenizer.from_file(str(own if own.exists() else REFERENCE_MODEL / "tokenizer.json"))
        words = [f"def name_{i % 89}(value, other={i % 7}): return value" for i in range(TEXT_WORDS // 8)]
        text = "\n".join(words)
        keep = self.spec.context_tokens

        def prepared() -> torch.Tensor:
            ids = tokenizer.encode(text).ids[-keep:]
            batch = torch.tensor([ids])
            return batch.pin_memory().to(self.device, non_blocking=True) if self.device == "cuda" else batch

        reader = CausalReader(self.model)

        def prefill(ids: torch.Tensor) -> None:
            reader.end(ids)
            self._wait()

        def one_after_the_other() -> None:
            for _ in range(REQUESTS):
                prefill(prepared())

        def meanwhile() -> None:
            ready: queue.Queue[torch.Tensor] = queue.Queue(maxsize=2)

            def prepare() -> None:
                for _ in range(REQUESTS):
                    ready.put(prepared())

            thread = threading.Thread(target=prepare)
            thread.start()
            for _ in range(REQUESTS):
                prefill(ready.get())
            thread.join()

        step = meanwhile if overlapped else one_after_the_other
        step()
        return step

    def profiled(self, step: Step, *, steps: int = 5) -> dict[str, object]:
        """Return where the time of a step goes.

        Returns:
            ``wall_s`` of a step, ``busy_s`` in operators (on a GPU: kernels), ``n_operators`` of a step, seconds by category, the
            ten largest operators, and ``flop`` of a step.
        """
        activities = [ProfilerActivity.CPU]
        if self.device == "cuda":
            activities.append(ProfilerActivity.CUDA)
        wall = min(self.timed(step) for _ in range(steps))
        with profile(activities=activities, with_flops=True) as profiler:
            for _ in range(steps):
                step()
            self._wait()
        by_name: dict[str, tuple[float, int]] = {}
        flop = 0.0
        for event in profiler.key_averages():
            flop += float(event.flops or 0)
            on_device = self.device == "cuda"
            own_us = event.self_device_time_total if on_device else event.self_cpu_time_total
            if own_us <= 0 or (on_device and str(event.device_type).endswith("CPU")):
                continue
            by_name[event.key] = (own_us / 1e6 / steps, event.count)
        seconds = dict.fromkeys((name for name, _ in CATEGORIES), 0.0)
        for name, (own, _) in by_name.items():
            seconds[category(name)] += own
        largest = sorted(by_name, key=lambda n: -by_name[n][0])[:10]
        return {
            "wall_s": wall,
            "busy_s": sum(own for own, _ in by_name.values()),
            "n_operators": sum(count for _, count in by_name.values()) / steps,
            "by_category_s": seconds,
            "largest": [{"name": n, "s": by_name[n][0], "n": by_name[n][1] / steps} for n in largest],
            "flop": flop / steps,
            "bytes": float(sum(p.numel() * p.element_size() for p in self.model.parameters())),
        }

    def roof(self) -> dict[str, float]:
        """Return what this device reaches: FLOP/s of a large product, and bytes per second of a large copy."""
        a = torch.randn(GEMM_ROWS, GEMM_ROWS, device=self.device)
        x = torch.empty(COPY_BYTES // 4, device=self.device)
        y = torch.empty_like(x)
        product = min(self.timed(lambda: a @ a) for _ in range(7))
        copied = min(self.timed(lambda: y.copy_(x)) for _ in range(7))
        return {"flop_per_s": 2 * GEMM_ROWS**3 / product, "bytes_per_s": 2 * COPY_BYTES / copied}


def category(name: str) -> str:
    """Return the category of an operator or kernel by its name."""
    low = name.lower()
    attention = CATEGORIES[1]
    if any(part in low for part in attention[1]):
        return attention[0]
    for kind, parts in CATEGORIES:
        if any(part in low for part in parts):
            return kind
    return CATEGORIES[-1][0]
