"""Variants that run in PyTorch: plain precisions and torchao's quantized linear layers."""

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

from workbench.core.quantization import QuantizationSpec


def load_model(spec: QuantizationSpec, *, dtype: torch.dtype, device: str) -> Any:
    """The causal language model of a spec, in evaluation mode; random weights where only the shape counts."""
    if spec.random_weights:
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
    return AutoModelForCausalLM.from_pretrained(spec.model, dtype=dtype).to(device).eval()


def base_dtype(method: str, device: str) -> torch.dtype:
    """Precision of everything that a method does not quantize.

    On a CPU float32, which its kernels are made for, except for FP8; on a GPU bfloat16.
    """
    if method == "fp32":
        return torch.float32
    return torch.float32 if device == "cpu" and method not in {"bf16", "fp8-weight"} else torch.bfloat16


def _config(method: str, device: str) -> tuple[Any, int]:
    """Torchao's configuration and the divisor that a layer's input width needs."""
    from torchao import quantization as ao
    from torchao.quantization.granularity import PerGroup, PerRow

    if method == "int8-weight":
        return ao.Int8WeightOnlyConfig(), 1
    if method == "int8-dynamic":
        return ao.Int8DynamicActivationInt8WeightConfig(), 1
    if method == "fp8-weight":
        return ao.Float8WeightOnlyConfig(), 1
    if method == "fp8-dynamic":
        return ao.Float8DynamicActivationFloat8WeightConfig(granularity=PerRow()), 16
    group = {"int4-g32": 32, "int4-g128": 128}[method]
    if device == "cpu":
        return ao.IntxWeightOnlyConfig(
            weight_dtype=torch.int4,  # type: ignore[attr-defined]
            granularity=PerGroup(group),
        ), group
    return ao.Int4WeightOnlyConfig(group_size=group, int4_packing_format="tile_packed_to_4d"), group


def quantize_linears(model: Any, method: str, *, device: str) -> None:
    """Quantize every linear layer but the output head, in place."""
    from torchao.quantization import quantize_

    config, divisor = _config(method, device)

    def chosen(module: torch.nn.Module, name: str) -> bool:
        return isinstance(module, torch.nn.Linear) and "lm_head" not in name and module.in_features % divisor == 0

    quantize_(model, config, filter_fn=chosen)


def stored_bytes(model: torch.nn.Module) -> int:
    """Bytes of all distinct parameters and buffers, with the scales inside quantized tensors."""

    def inner(tensor: Any) -> list[torch.Tensor]:
        if type(tensor) is torch.nn.Parameter or type(tensor) is torch.Tensor:
            return [tensor]
        if hasattr(tensor, "__tensor_flatten__"):
            names, _ = tensor.__tensor_flatten__()
            return [t for name in names for t in inner(getattr(tensor, name))]
        return [tensor]

    seen: dict[int, int] = {}
    for tensor in model.state_dict(keep_vars=True).values():
        for part in inner(tensor):
            seen[part.data_ptr()] = part.numel() * part.element_size()
    return sum(seen.values())


class TorchModel:
    """A variant in PyTorch: logits for the accuracy check, prefill and decoding for the clock."""

    def __init__(self, spec: QuantizationSpec, method: str, *, device: str) -> None:
        self.spec, self.device = spec, device
        self.model = load_model(spec, dtype=base_dtype(method, device), device=device)
        self.quantize_s = 0.0
        if method not in {"fp32", "bf16"}:
            started = time.perf_counter()
            quantize_linears(self.model, method, device=device)
            self._wait()
            self.quantize_s = time.perf_counter() - started
        self._compiled = spec.compile == "on" or (spec.compile == "auto" and device == "cuda")
        self.execution = "compiled" if self._compiled else "eager"
        self.weight_bytes = stored_bytes(self.model)
        self._forward: Callable[..., Any] = self.model.forward
        if self._compiled:
            mode = "reduce-overhead" if device == "cuda" else "default"
            self._forward = torch.compile(self.model.forward, mode=mode, dynamic=False)
        self._caches: dict[int, StaticCache] = {}

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """(tokens, words) for ids: (tokens,)."""
        out: torch.Tensor = self.model(input_ids=ids[None].to(self.device), use_cache=False).logits[0]
        return out

    def _prompt(self, batch: int, n_tokens: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.spec.seed)
        vocabulary = self.model.config.vocab_size
        return torch.randint(vocabulary, (batch, n_tokens), generator=generator).to(self.device)

    @torch.inference_mode()
    def prefill_s(self) -> float:
        """Time to read one prompt of ``prefill_tokens``."""
        ids = self._prompt(1, self.spec.prefill_tokens)
        started = time.perf_counter()
        self._forward(input_ids=ids, use_cache=False, logits_to_keep=1)
        self._wait()
        return time.perf_counter() - started

    def _cache(self, batch: int) -> DynamicCache | StaticCache:
        if not self._compiled:
            return DynamicCache(config=self.model.config)
        if batch not in self._caches:
            length = self.spec.prompt_tokens + self.spec.decode_tokens
            self._caches[batch] = StaticCache(config=self.model.config, max_cache_len=length)
        cache = self._caches[batch]
        cache.reset()
        return cache

    @torch.inference_mode()
    def decode_s(self, batch: int) -> list[float]:
        """Time of each of ``decode_tokens`` steps after a prompt of ``prompt_tokens``."""
        cache = self._cache(batch)
        prompt = self._prompt(batch, self.spec.prompt_tokens)
        logits = self.model(input_ids=prompt, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        times = []
        for step in range(self.spec.decode_tokens):
            ids = logits[:, -1].argmax(-1, keepdim=True)
            position = torch.full((batch, 1), self.spec.prompt_tokens + step, device=self.device)
            self._wait()
            started = time.perf_counter()
            logits = self._forward(
                input_ids=ids, position_ids=position, past_key_values=cache, use_cache=True
            ).logits.clone()
            self._wait()
            times.append(time.perf_counter() - started)
        return times
