"""ONNX Runtime in this process: incremental decoding over a key-value cache, one request after the other by turns."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime

from workbench.core.errors import NotAModel
from workbench.core.ports import EngineLimits, Generation, TokenEvent
from workbench.engines.http import EngineFailed
from workbench.engines.text import Detokenizer, eos_ids, require_known_ids, require_words_within, tokenizer_of


class _Limits(msgspec.Struct):
    """What the engine needs of ``config.json``; shapes are those of the graph."""

    max_position_embeddings: int | None = None
    n_positions: int | None = None
    vocab_size: int | None = None


class OnnxEngine:
    """Generates with a graph whose inputs and outputs hold the cache, as ``workbench serve`` exports it.

    Requests that come at the same time take turns token by token; the graph has no mask for unequal lengths, so
    they do not share a forward pass.
    The folder holds model.onnx, config.json and tokenizer.json; 0 threads of ONNX Runtime are all cores.
    """

    def __init__(self, folder: Path, *, threads: int = 0) -> None:
        if not (folder / "model.onnx").exists():
            raise NotAModel(
                f"{folder} has no model.onnx.", remedy="Export it with `workbench serve MODEL --engine onnx`."
            )
        self._tokenizer = tokenizer_of(folder)
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Limits)
        require_words_within(self._tokenizer, config.vocab_size)
        most_tokens = config.max_position_embeddings or config.n_positions
        self._limits = EngineLimits(n_vocab=config.vocab_size, max_model_len=most_tokens)
        self._limit = most_tokens or 1 << 30
        self._eos = eos_ids(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._empty = {
            i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32)
            for i in self._session.get_inputs()
            if i.name != "input_ids"
        }
        self._turn = threading.Lock()
        self._folder = folder
        self._closed = False

    def generate(self, wish: Generation) -> Iterator[TokenEvent]:
        """Yield the tokens of an answer; raises ``EngineFailed`` for a prompt that is empty or too long."""
        prompt = self._ids(wish)
        detokenizer = Detokenizer(self._tokenizer)
        cache = self._empty
        step = np.array([prompt], np.int64)
        for number in range(1, wish.max_tokens + 1):
            if self._closed:
                raise EngineFailed("The ONNX engine is closed.", remedy="Start it again.")
            with self._turn:
                logits, *longer = self._session.run(None, {"input_ids": step, **cache})
            cache = dict(zip(cache, longer, strict=True))
            at_s = time.perf_counter()
            token = int(np.asarray(logits)[0, -1].argmax())
            stopped = token in self._eos and not wish.ignore_eos
            last = stopped or number == wish.max_tokens
            yield TokenEvent(
                at_s=at_s,
                text=detokenizer.text((token,)),
                token_ids=(token,),
                n_input_tokens=len(prompt),
                n_output_tokens=number,
                finish_reason=("stop" if stopped else "length") if last else None,
            )
            if last:
                return
            step = np.array([[token]], np.int64)

    def _ids(self, wish: Generation) -> tuple[int, ...]:
        ids = tuple(self._tokenizer.encode(wish.prompt).ids) if isinstance(wish.prompt, str) else wish.prompt
        if not ids or len(ids) + wish.max_tokens > self._limit:
            raise EngineFailed(
                f"{len(ids)} prompt and {wish.max_tokens} answer tokens do not fit into 1 to {self._limit}.",
                remedy="Change the lengths.",
            )
        require_known_ids(ids, self._limits.n_vocab)
        return ids

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Return the token ids of a text; raises ``EngineFailed`` for an empty one or one that is too long."""
        return self._ids(Generation(prompt=text, max_tokens=0))

    def limits(self) -> EngineLimits:
        """Return the vocabulary and the context length of the configuration."""
        return self._limits

    def problem(self) -> str | None:
        """Return why no request is answered: only a closed engine answers none."""
        return "The ONNX engine is closed." if self._closed else None

    def counters(self) -> Mapping[str, float]:
        """Return no counters: the engine has neither a queue nor a shared cache."""
        return {}

    def describe(self) -> Mapping[str, str | None]:
        """Return engine, version, model, precision and device."""
        version = f"onnxruntime {onnxruntime.__version__}"
        kept = {"model": str(self._folder), "dtype": "float32", "device": "cpu"}
        return {"engine": "onnx", "version": version, **kept}

    def close(self) -> None:
        """Let requests under way end with an error."""
        self._closed = True
