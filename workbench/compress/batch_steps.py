"""Steps of a causal language model in PyTorch at any batch size: their times, and the memory that they take and free."""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch

from workbench.catalog.paths import located
from workbench.compress.spec import StepWork
from workbench.compress.torch_model import base_dtype
from workbench.estimate.best_batch import QUANTILE, Trial
from workbench.understanding.reading import CausalReader, open_causal_model, refused_in_words

WARM_UP = 2
RESET_PEAK = Path("/proc/self/clear_refs")
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


class BatchSteps:
    """A model with steps of any batch size; memory is freed after each step."""

    def __init__(self, spec: StepWork, *, device: str, is_prefill: bool, limit_s: float | None) -> None:
        self.spec, self.device, self.is_prefill, self.limit_s = spec, device, is_prefill, limit_s
        self.model = open_causal_model(
            located(spec.model),
            dtype=base_dtype("bf16" if device == "cuda" else "fp32", device),
            device=device,
            random_weights=spec.random_weights,
        )
        self.reader = CausalReader(self.model)
        self.reader.require_right_in_pieces(chunks=False)

    def now_bytes(self) -> float:
        """Return the bytes of device memory that this process holds."""
        if self.device == "cuda":
            return float(torch.cuda.memory_allocated())
        return float(psutil.Process().memory_info().rss)

    @torch.inference_mode()
    def trial(self, batch: int, *, limit_bytes: float) -> Trial:
        """Return time and peak memory of a batch size; one that does not fit is reported in the result, not raised."""
        self._clean()
        self._reset_peak()
        seconds: list[float] = []
        reason: Literal["memory", "latency"] | None = None
        try:
            seconds = self._seconds(batch)
        except (torch.OutOfMemoryError, MemoryError):
            reason = "memory"
        except RuntimeError as error:
            if "allocate memory" not in str(error) and "out of memory" not in str(error):
                raise
            reason = "memory"
        peak = self._peak_bytes()
        self._clean()
        if reason is None and peak > limit_bytes:
            reason = "memory"
        if reason is None and self.limit_s and float(np.quantile(seconds, QUANTILE)) > self.limit_s:
            reason = "latency"
        return Trial(batch=batch, seconds=tuple(seconds), peak_bytes=peak, reason=reason)

    def _seconds(self, batch: int) -> list[float]:
        spec = self.spec
        generator = torch.Generator().manual_seed(spec.seed)
        ids = torch.randint(self.reader.n_words, (batch, spec.context_tokens), generator=generator).to(self.device)
        with refused_in_words(self.model, "run a batch"):
            if self.is_prefill:
                return self._timed(lambda: self.reader.read(ids))
            memory = self.reader.read(ids)[1]
            last = ids[:, -1:]

            def step() -> None:
                nonlocal memory
                memory = self.reader.read(last, memory)[1]

            return self._timed(step)

    def _timed(self, step: Callable[[], object]) -> list[float]:
        times = []
        for i in range(WARM_UP + self.spec.rounds):
            began = time.perf_counter()
            step()
            if self.device == "cuda":
                torch.cuda.synchronize()
            if i >= WARM_UP:
                times.append(time.perf_counter() - began)
        return times

    def _clean(self) -> None:
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        elif _TRIM is not None:
            _TRIM(0)  # what was freed goes back to the system, or the next peak would begin on top of it

    def _reset_peak(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        elif RESET_PEAK.exists():
            RESET_PEAK.write_text("5")

    def _peak_bytes(self) -> float:
        if self.device == "cuda":
            return float(torch.cuda.max_memory_allocated())
        status: Mapping[str, str] = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
        return float(status["VmHWM"].split()[0]) * 1024

    def close(self) -> None:
        """Free the model and the memory of the device."""
        del self.model, self.reader
        self._clean()
        if self.device == "cuda":
            torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001 - 32 MiB that cuBLAS keeps; there is no public way
            torch.cuda.empty_cache()


def allocated_bytes(device: str) -> float:
    """Return the bytes of GPU memory that tensors of this process hold; 0 on a CPU."""
    return float(torch.cuda.memory_allocated()) if device == "cuda" else 0.0


def free_bytes(device: str) -> float:
    """Return the bytes of device memory that no process holds."""
    return float(torch.cuda.mem_get_info()[0]) if device == "cuda" else float(psutil.virtual_memory().available)
