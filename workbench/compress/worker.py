"""The inside of a variant's process: loads one variant and answers one request at a time."""

import ctypes
import gc
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap

from workbench.compress.quality import window_quality
from workbench.core.quantization import METHODS, QuantizationSpec

REFERENCE_FILE = "reference_logits.npy"  # float32, (windows, tokens, words)


def resident_bytes(field: str) -> int:
    """A figure of this process from the kernel ("VmRSS" now, "VmHWM" at most)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _forget_peak() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)


class Worker:
    """One variant with the operations that ``VariantProcess`` calls by name."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.spec, self.method, self.device, self.folder, self.threads = spec, method, device, folder, threads
        self._before_bytes = resident_bytes("VmRSS") if device == "cpu" else 0
        self.variant: Any = None

    def windows(self, text: str) -> npt.NDArray[np.int64]:
        """All token ids of a text: (tokens,)."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.spec.model)
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return np.asarray(ids, dtype=np.int64)

    def open(self, windows: npt.NDArray[np.int64] | None) -> dict[str, Any]:
        """Load and quantize; gives back what that took."""
        if METHODS[self.method].runtime == "torch":
            from workbench.compress.torch_model import TorchModel

            self.variant = TorchModel(self.spec, self.method, device=self.device)
        else:
            from workbench.compress.onnx_model import OnnxModel

            calibration = np.zeros((1, self.spec.window_tokens), np.int64) if windows is None else windows
            self.variant = OnnxModel(
                self.spec, self.method, folder=self.folder, windows=calibration, threads=self.threads
            )
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            _forget_peak()
        return {
            "quantize_s": self.variant.quantize_s,
            "weight_bytes": self.variant.weight_bytes,
            "execution": self.variant.execution,
        }

    def write_reference(self, index: int, n_windows: int, window: npt.NDArray[np.int64]) -> None:
        """Keep this model's logits of one window on disk, for the variants to be compared with."""
        logits = self.variant.logits(torch.from_numpy(window[:-1])).float().cpu().numpy()
        path = self.folder / REFERENCE_FILE
        mode = "w+" if index == 0 else "r+"
        kept = open_memmap(path, mode=mode, dtype=np.float32, shape=(n_windows, *logits.shape) if index == 0 else None)
        kept[index] = logits
        kept.flush()

    def evaluate(self, index: int, window: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Divergence from the reference on one window: (tokens + 1,) ids."""
        reference = torch.from_numpy(np.array(np.load(self.folder / REFERENCE_FILE, mmap_mode="r")[index]))
        quality = window_quality(
            reference, self.variant.logits(torch.from_numpy(window[:-1])), torch.from_numpy(window[1:])
        )
        return {"kl_nat": quality.kl_nat, "nll_nat": quality.nll_nat, "agrees": quality.agrees}

    def prefill_s(self) -> float:
        """See the variant."""
        seconds: float = self.variant.prefill_s()
        return seconds

    def decode_s(self, batch: int) -> list[float]:
        """See the variant."""
        seconds: list[float] = self.variant.decode_s(batch)
        return seconds

    def peak_memory_bytes(self) -> int:
        """Most memory held since loading (CUDA: allocated; CPU: resident, over that before loading)."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return max(resident_bytes("VmHWM") - self._before_bytes, 0)


def serve(connection: Connection, spec: QuantizationSpec, method: str, device: str, folder: Path, threads: int) -> None:
    """Answer requests (name, arguments) with ("ok", value) or ("error", summary, traceback) until told to stop."""
    worker: Worker | None = None
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            if worker is None:
                worker = Worker(spec, method, device=device, folder=folder, threads=threads)
            operation: Callable[..., Any] = getattr(worker, name)
            connection.send(("ok", operation(**arguments)))
        except Exception as error:
            connection.send(("error", f"{type(error).__name__}: {_first_line(error)}", traceback.format_exc()))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no message"
