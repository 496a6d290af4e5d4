"""Variants that run in ONNX Runtime: one export that is checked against the model, then a quantized copy of it per method."""

import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from workbench.compress.calibration_text import calibration_windows
from workbench.compress.folder import token_ids
from workbench.compress.onnx_check import CHECKED_TOKENS, empty_cache, graph_session
from workbench.compress.onnx_export import export_onnx
from workbench.compress.onnx_quantize import quantize_graph
from workbench.compress.spec import QuantizationSpec
from workbench.compress.torch_model import load_model
from workbench.compress.variant import Ids
from workbench.core.errors import NotAvailable, WorkbenchError

REFUSAL = "refused.txt"


class OnnxModel:
    """A variant in ONNX Runtime with an incremental key-value cache."""

    execution = "onnxruntime"

    def __init__(self, spec: QuantizationSpec, method: str, *, folder: Path, scored: Ids | None, threads: int) -> None:
        self.spec = spec
        path = self._base(spec, folder / "onnx-fp32")
        self.quantize_s = 0.0
        if method != "onnx-fp32":
            started = time.perf_counter()
            base, path = path, folder / method / "model.onnx"
            shutil.rmtree(path.parent, ignore_errors=True)
            path.parent.mkdir()
            empty = empty_cache(graph_session(base, threads=threads), 1)
            quantize_graph(base, path, method, windows=_calibration(spec, method, scored), empty=empty)
            self.quantize_s = time.perf_counter() - started
        self.weight_bytes = sum(f.stat().st_size for f in path.parent.iterdir())
        self._session = graph_session(path, threads=threads)
        self.vocabulary = spec_vocabulary(spec)

    @staticmethod
    def _base(spec: QuantizationSpec, folder: Path) -> Path:
        """Return the float graph, exported and checked once; a model that was refused once is refused again at once."""
        graph, refusal = folder / "model.onnx", folder.with_name(REFUSAL)
        if _is_of_these_files(graph, spec.model):
            return graph
        shutil.rmtree(folder, ignore_errors=True)
        if _is_of_these_files(refusal, spec.model):
            cause, remedy = refusal.read_text().split("\n")
            raise NotAvailable(cause, remedy=remedy)
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        longest = max(CHECKED_TOKENS, spec.window_tokens, spec.prefill_tokens, spec.prompt_tokens + spec.decode_tokens)
        try:
            export_onnx(load_model(spec, dtype=torch.float32, device="cpu"), unfinished / graph.name, n_checked=longest)
        except WorkbenchError as error:
            refusal.write_text(f"{error.cause}\n{error.remedy}")
            raise
        unfinished.rename(folder)
        return graph

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, (tokens, vocabulary), of ids: (tokens,)."""
        out = self._session.run(["logits"], {"input_ids": ids[None].numpy(), **empty_cache(self._session, 1)})[0]
        return torch.from_numpy(np.asarray(out)[0])

    def _prompt(self, batch: int, n_tokens: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng(self.spec.seed)
        return rng.integers(0, self.vocabulary, (batch, n_tokens))

    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""
        feed = {"input_ids": self._prompt(1, self.spec.prefill_tokens), **empty_cache(self._session, 1)}
        started = time.perf_counter()
        self._session.run(None, feed)
        return time.perf_counter() - started

    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""
        past = empty_cache(self._session, batch)
        out = self._session.run(None, {"input_ids": self._prompt(batch, self.spec.prompt_tokens), **past})
        times = []
        for _ in range(self.spec.decode_tokens):
            ids = np.asarray(out[0])[:, -1:].argmax(-1)
            started = time.perf_counter()
            out = self._session.run(None, {"input_ids": ids, **dict(zip(past, out[1:], strict=True))})
            times.append(time.perf_counter() - started)
        return times


def _calibration(spec: QuantizationSpec, method: str, scored: Ids | None) -> Ids:
    """Return windows of text that is not scored, where the method needs them; of random weights any tokens will do."""
    if method != "onnx-int8-static" or spec.random_weights:
        return np.zeros((1, spec.window_tokens), np.int64)
    return calibration_windows(partial(token_ids, spec.model), scored=scored, length=spec.window_tokens)


def _is_of_these_files(made: Path, model: str) -> bool:
    """Return whether a file was made since the files of the model were last changed: a resumed run may find them mended."""
    files = list(Path(model).iterdir()) if Path(model).is_dir() else []
    return made.exists() and made.stat().st_mtime >= max((f.stat().st_mtime for f in files), default=0.0)


def spec_vocabulary(spec: QuantizationSpec) -> int:
    """Return the number of tokens that a spec's model knows."""
    from transformers import AutoConfig

    vocabulary: int = AutoConfig.from_pretrained(spec.model).get_text_config().vocab_size
    return vocabulary
