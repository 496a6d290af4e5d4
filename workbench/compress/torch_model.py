"""Variants that run in PyTorch: plain precisions and torchao's quantized linear layers."""

import time
from contextlib import suppress
from pathlib import Path

import torch
from torch._dynamo import config as dynamo_config
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, StaticCache

from workbench.compress.layers import plain_layers
from workbench.compress.methods import METHODS
from workbench.compress.replaced_linears import NothingQuantized, quantize_linears, saved_bytes, stored_bytes
from workbench.compress.rows import Coverage
from workbench.compress.spec import QuantizationSpec
from workbench.understanding.loading import loaded, refused_as_folder
from workbench.understanding.reading import ALIKE, CausalReader, refused_in_words

TRIED_TOKENS = 16
"""Length of the text on which a cache of fixed size is tried."""


def load_model(spec: QuantizationSpec, *, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """Return the causal language model of a spec, in evaluation mode; random weights where only the shape counts."""
    if spec.random_weights:
        with refused_as_folder(Path(spec.model).name):
            config = AutoConfig.from_pretrained(spec.model)
        torch.manual_seed(spec.seed)
        default = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        try:
            with torch.device(device):
                model = AutoModelForCausalLM.from_config(config)
        finally:
            torch.set_default_dtype(default)
        return model.to(dtype).eval()
    model = loaded(spec.model, dtype=dtype).to(device)
    CausalReader(model).require_causal()
    return model


def base_dtype(method: str, device: str) -> torch.dtype:
    """Return the precision of everything that a method does not quantize.

    On a CPU float32, which its kernels are made for, except for FP8; on a GPU bfloat16.
    """
    if method == "fp32":
        return torch.float32
    return torch.float32 if device == "cpu" and method not in {"bf16", "fp8-weight"} else torch.bfloat16


class _Part(torch.nn.Module):
    """A module that can be compiled alone: dynamo skips the frames of torch's own modules."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: object, **named: object) -> object:
        return self.inner(*inputs, **named)


def compile_parts(model: torch.nn.Module) -> None:
    """Compile the pieces of the decoder layers that are alike in all layers, in place.

    A module that knows the number of its layer would be compiled once for each layer, which takes
    minutes; its children are compiled instead. Shapes are fixed, so each piece is compiled once per shape.
    """
    dynamo_config.recompile_limit = 256  # one function serves every part of every shape
    for layers in [m for m in model.modules() if isinstance(m, torch.nn.ModuleList)]:
        _compile_alike(layers)


def _compile_alike(module: torch.nn.Module) -> None:
    for name, child in list(module.named_children()):
        if any(hasattr(m, "layer_idx") for m in child.modules()):
            _compile_alike(child)
        else:
            part = _Part(child)
            part.compile(dynamic=False)
            setattr(module, name, part)


class _Step:
    """One decoding step over a static cache, replayed as a CUDA graph where that is possible."""

    def __init__(self, model: PreTrainedModel, *, batch: int, cache_tokens: int, device: str) -> None:
        self.model, self.device = model, device
        self.cache = StaticCache(config=model.config, max_cache_len=cache_tokens)
        self._ids = torch.zeros((batch, 1), dtype=torch.long, device=device)
        self._position = torch.zeros((batch, 1), dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = torch.empty(0)

    def _eager(self) -> torch.Tensor:
        logits: torch.Tensor = self.model(
            input_ids=self._ids, position_ids=self._position, past_key_values=self.cache, use_cache=True
        ).logits
        return logits

    def capture(self) -> None:
        """Compile by running, then record the step; the cache must have been used once and is left for a reset."""
        self.cache.reset()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._eager()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self._eager()
        self._graph = graph

    def __call__(self, ids: torch.Tensor, position: int) -> torch.Tensor:
        """Return the logits after ids, (batch, 1); they are valid until the next call."""
        self._ids.copy_(ids)
        self._position.fill_(position)
        if self._graph is None:
            return self._eager()
        self._graph.replay()
        return self._logits


class TorchModel:
    """A variant in PyTorch: logits for accuracy, and timed prefills and decode steps."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str) -> None:
        self.spec, self.device = spec, device
        self.model = load_model(spec, dtype=base_dtype(method, device), device=device)
        self.layers = plain_layers(self.model)
        self.reader = CausalReader(self.model)
        if method == "fp32":  # the reference: timed steps must be those of the model that is scored
            self.reader.require_right_in_pieces(chunks=False, batch=1)
        wished = spec.compile == "on" or (spec.compile == "auto" and device == "cuda")
        self._compiled = wished and self._can_be_compiled()
        self.quantize_s = 0.0
        self.held_weight_bytes = self.weight_bytes = plain_bytes = stored_bytes(self.model)
        replaced: list[str] = []
        if method not in {"fp32", "bf16"}:
            replaced = self._quantize(method, plain_bytes)
        self.coverage: Coverage = self.layers.coverage(replaced)
        self.execution = "compiled" if self._compiled else "eager"
        if self._compiled:
            compile_parts(self.model)
        self._steps: dict[int, _Step] = {}

    def _quantize(self, method: str, plain_bytes: int) -> list[str]:
        """Quantize the layers, count the bytes, and return the names of the replaced layers."""
        sizes = {name: saved_bytes(layer, method) for name, layer in self.layers.linears.items()}
        started = time.perf_counter()
        replaced = quantize_linears(self.layers, self.model, method, device=self.device)
        self._wait()
        self.quantize_s = time.perf_counter() - started
        self.held_weight_bytes = stored_bytes(self.model)
        self.weight_bytes = plain_bytes - sum(sizes[name] for name in replaced)
        if self.weight_bytes >= plain_bytes:
            raise NothingQuantized(
                f"{METHODS[method].label} makes the weights no smaller: {self.weight_bytes:,} of {plain_bytes:,} bytes.",
                remedy="Choose another method.",
            )
        return replaced

    @torch.inference_mode()
    def _can_be_compiled(self) -> bool:
        """Return whether steps over a cache of fixed size give the answers of the model's own memory.

        Which experts are called depends on the values, which neither a graph of fixed shapes nor a CUDA graph can hold.
        """
        if not self.reader.takes_cache or any(c.kind == "experts" for c in self.layers.coverage(())):
            return False
        ids = self.reader.sample()[:, :TRIED_TOKENS]
        prompt, following = ids[:, :-2], (ids[:, -2:-1], ids[:, -1:])
        expected = self.reader.whole(ids)[:, -2:].float()
        with suppress(Exception):  # each architecture has errors of its own
            step = _Step(self.model, batch=1, cache_tokens=ids.shape[1], device=self.device)
            self.reader.read(prompt, step.cache)
            logits = [step(token, prompt.shape[1] + i).float() for i, token in enumerate(following)]
            difference = (torch.cat(logits, dim=1) - expected).square().mean().sqrt() / expected.std()
            return bool(difference < ALIKE.get(self.model.dtype, 0.01))
        return False

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the logits, (tokens, vocabulary), of ids: (tokens,)."""
        with torch.compiler.set_stance("force_eager"):
            out: torch.Tensor = self.model(input_ids=ids[None].to(self.device), use_cache=False).logits[0]
        return out

    def _prompt(self, batch: int, n_tokens: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.spec.seed)
        return torch.randint(self.reader.n_words, (batch, n_tokens), generator=generator).to(self.device)

    @torch.inference_mode()
    def prefill_s(self) -> float:
        """Return the time of one prefill of ``prefill_tokens``."""
        ids = self._prompt(1, self.spec.prefill_tokens)
        self._wait()
        started = time.perf_counter()
        with refused_in_words(self.model, "read a prompt"):
            self.reader.end(ids)
            self._wait()
        return time.perf_counter() - started

    def _prefill(self, batch: int, cache: StaticCache | None) -> tuple[torch.Tensor, object]:
        """Read a prompt; return the most likely next tokens, (batch, 1), and the memory: ``cache``, or one of the model's own class."""
        prompt = self._prompt(batch, self.spec.prompt_tokens)
        with torch.compiler.set_stance("force_eager"):
            logits, memory = self.reader.read(prompt, cache) if cache else self.reader.begin(prompt)
        return logits[:, -1].argmax(-1, keepdim=True), memory

    def _step(self, batch: int) -> _Step:
        if batch not in self._steps:
            length = self.spec.prompt_tokens + self.spec.decode_tokens
            step = _Step(self.model, batch=batch, cache_tokens=length, device=self.device)
            if self.device == "cuda":
                self._prefill(batch, step.cache)
                step.capture()
            self._steps[batch] = step
        self._steps[batch].cache.reset()
        return self._steps[batch]

    @torch.inference_mode()
    def decode_s(self, batch: int) -> list[float]:
        """Return the time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""
        with refused_in_words(self.model, "decode token by token"):
            return self._decode(batch)[0]

    @torch.inference_mode()
    def decoded(self, batch: int) -> torch.Tensor:
        """Return the tokens that the timed loop decodes: (batch, decode_tokens)."""
        return self._decode(batch)[1]

    def _decode(self, batch: int) -> tuple[list[float], torch.Tensor]:
        step = self._step(batch) if self._compiled else None
        ids, memory = self._prefill(batch, step.cache if step else None)
        times, words = [], []
        for position in range(self.spec.prompt_tokens, self.spec.prompt_tokens + self.spec.decode_tokens):
            self._wait()
            started = time.perf_counter()
            logits, memory = (step(ids, position), memory) if step else self.reader.read(ids, memory)
            self._wait()
            times.append(time.perf_counter() - started)
            ids = logits[:, -1].argmax(-1, keepdim=True)
            words.append(ids)
        return times, torch.cat(words, dim=1)
