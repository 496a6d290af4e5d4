"""The process of a variant: it loads one variant and answers one request at a time."""

import ctypes
import gc
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.lib.format import open_memmap

from workbench.compress.folder import prefix_ids, token_ids
from workbench.compress.methods import METHODS
from workbench.compress.quality import window_quality
from workbench.compress.spec import QuantizationSpec
from workbench.compress.variant import Ids, Opened, WindowQuality
from workbench.core.errors import NotAModel, NotAvailable, WorkbenchError, first_line

REFERENCE_FILE = "reference_logits.npy"  # float32, (windows, tokens, vocabulary)


def resident_bytes(field: str) -> int:
    """Return the resident bytes of this process as the kernel counts them ("VmRSS" now, "VmHWM" the peak)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _forget_peak() -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)


class Variant(Protocol):
    """A loaded variant, in PyTorch or in ONNX Runtime."""

    quantize_s: float
    weight_bytes: int
    execution: str

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, (tokens, vocabulary), of ids: (tokens,)."""

    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""

    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""


class Worker:
    """One variant with the ``VariantOperations`` that ``VariantProcess`` calls."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str, folder: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.spec, self.method, self.device, self.folder, self.threads = spec, method, device, folder, threads
        self._before_bytes = resident_bytes("VmRSS") if device == "cpu" else 0
        self._variant: Variant | None = None

    @property
    def variant(self) -> Variant:
        """The variant that ``open`` has loaded."""
        assert self._variant is not None
        return self._variant

    def windows(self, text: str) -> tuple[Ids, Ids]:
        """Return all token ids of a text, (tokens,), and the special tokens that the tokenizer sets before a text."""
        return token_ids(self.spec.model, text), prefix_ids(self.spec.model)

    def open(self, windows: Ids | None) -> Opened:
        """Load and quantize the variant; return what that took."""
        if METHODS[self.method].runtime == "torch":
            from workbench.compress.torch_model import TorchModel

            self._variant = TorchModel(self.spec, self.method, device=self.device)
        else:
            from workbench.compress.onnx_model import OnnxModel

            self._variant = OnnxModel(self.spec, self.method, folder=self.folder, scored=windows, threads=self.threads)
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            _forget_peak()
        return Opened(
            quantize_s=self.variant.quantize_s,
            weight_bytes=self.variant.weight_bytes,
            execution=self.variant.execution,
            held_weight_bytes=getattr(self.variant, "held_weight_bytes", None),
            coverage=getattr(self.variant, "coverage", ()),
        )

    def write_reference(self, index: int, n_windows: int, window: Ids) -> None:
        """Keep this model's logits of one window on disk, for the variants to be compared with."""
        logits = self.variant.logits(torch.from_numpy(window[:-1])).float().cpu().numpy()
        if not np.isfinite(logits).all():
            raise NotAModel(
                f"The model in {METHODS[self.method].label} answers with NaN or infinite logits on window {index + 1} of the text.",
                remedy="Check the weights: nothing can be compared with such answers.",
            )
        path = self.folder / REFERENCE_FILE
        mode = "w+" if index == 0 else "r+"
        kept = open_memmap(path, mode=mode, dtype=np.float32, shape=(n_windows, *logits.shape) if index == 0 else None)
        kept[index] = logits
        kept.flush()

    def evaluate(self, index: int, window: Ids) -> WindowQuality:
        """Return the divergence from the reference on one window: (tokens + 1,) ids."""
        reference = torch.from_numpy(np.array(np.load(self.folder / REFERENCE_FILE, mmap_mode="r")[index]))
        logits = self.variant.logits(torch.from_numpy(window[:-1]))
        if not bool(torch.isfinite(logits).all()):
            raise NotAvailable(
                f"{METHODS[self.method].label} answers with NaN or infinite logits: numbers of the model are beyond its range.",
                remedy="Choose a method with a wider range.",
            )
        return window_quality(reference, logits, torch.from_numpy(window[1:]))

    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""
        return self.variant.prefill_s()

    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""
        return self.variant.decode_s(batch)

    def peak_memory_bytes(self) -> int:
        """Return the most memory held since loading (CUDA: allocated; CPU: resident, over that before loading)."""
        if self.device == "cuda":
            return torch.cuda.max_memory_allocated()
        return max(resident_bytes("VmHWM") - self._before_bytes, 0)


def serve(connection: Connection, spec: QuantizationSpec, method: str, device: str, folder: Path, threads: int) -> None:
    """Answer requests (name, arguments, options) until the connection closes.

    Answers are ("ok", value), ("refused", cause, remedy, whether the variant is merely not available, traceback), or
    ("error", summary, traceback).
    """
    worker: Worker | None = None
    while True:
        try:
            name, arguments, options = connection.recv()
        except EOFError:
            return
        try:
            if worker is None:
                worker = Worker(spec, method, device=device, folder=folder, threads=threads)
            operation: Callable[..., object] = getattr(worker, name)
            connection.send(("ok", operation(*arguments, **options)))
        except WorkbenchError as error:
            connection.send(
                ("refused", error.cause, error.remedy, isinstance(error, NotAvailable), traceback.format_exc())
            )
        except Exception as error:
            connection.send(("error", f"{type(error).__name__}: {first_line(error)}", traceback.format_exc()))
