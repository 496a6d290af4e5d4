"""The question "what does each precision cost?": its methods, its spec and its answer."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from workbench.core.checks import require_positive
from workbench.core.devices import Device
from workbench.core.errors import InvalidSpec
from workbench.core.statistics import Interval

Runtime = Literal["torch", "onnxruntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to store and run a model's linear layers."""

    name: str
    label: str
    runtime: Runtime
    weight_bits: float
    """Stored bits per weight of the linear layers, scales included (one 16-bit scale per group)."""
    claim: str | None
    """Technique in ``data/claims.csv`` that makes a promise about this method."""
    note: str
    vllm_flag: str | None = None
    """What ``vllm serve`` needs to load the same format, where it has one."""


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        Method(
            name="fp32",
            label="FP32",
            runtime="torch",
            weight_bits=32,
            claim=None,
            note="the reference",
            vllm_flag="--dtype float32",
        ),
        Method(
            name="bf16",
            label="BF16",
            runtime="torch",
            weight_bits=16,
            claim="FP16",
            note="every tensor in bfloat16",
            vllm_flag="--dtype bfloat16",
        ),
        Method(
            name="int8-weight",
            label="INT8 weight-only",
            runtime="torch",
            weight_bits=8,
            claim="INT8 PTQ",
            note="torchao, one scale per row",
            vllm_flag="--quantization torchao",
        ),
        Method(
            name="int8-dynamic",
            label="INT8 dynamic",
            runtime="torch",
            weight_bits=8,
            claim="INT8 PTQ",
            note="torchao, activations quantized per token",
            vllm_flag="--quantization torchao",
        ),
        Method(
            name="int4-g32",
            label="INT4 group 32",
            runtime="torch",
            weight_bits=4.5,
            claim="INT4 AWQ",
            note="torchao, round to nearest, no calibration",
            vllm_flag="--quantization torchao",
        ),
        Method(
            name="int4-g128",
            label="INT4 group 128",
            runtime="torch",
            weight_bits=4.125,
            claim="INT4 AWQ",
            note="torchao, round to nearest, no calibration",
            vllm_flag="--quantization torchao",
        ),
        Method(
            name="fp8-weight",
            label="FP8 weight-only",
            runtime="torch",
            weight_bits=8,
            claim=None,
            note="torchao, e4m3, the rest in bfloat16",
            vllm_flag="--quantization torchao",
        ),
        Method(
            name="fp8-dynamic",
            label="FP8 dynamic",
            runtime="torch",
            weight_bits=8,
            claim=None,
            note="torchao, e4m3 weights and activations",
            vllm_flag="--quantization fp8",
        ),
        Method(
            name="onnx-fp32",
            label="ONNX FP32",
            runtime="onnxruntime",
            weight_bits=32,
            claim=None,
            note="export with KV cache",
        ),
        Method(
            name="onnx-int8-dynamic",
            label="ONNX INT8 dynamic",
            runtime="onnxruntime",
            weight_bits=8,
            claim="INT8 PTQ",
            note="weights per channel, activations per tensor",
        ),
        Method(
            name="onnx-int4-g32",
            label="ONNX INT4 group 32",
            runtime="onnxruntime",
            weight_bits=4.5,
            claim="INT4 AWQ",
            note="MatMulNBits, round to nearest",
        ),
        Method(
            name="onnx-int8-static",
            label="ONNX INT8 static",
            runtime="onnxruntime",
            weight_bits=8,
            claim="INT8 PTQ",
            note="QDQ on linear layers only: attention and rotary products stay in float",
        ),
    )
}
REFERENCE_METHOD = "fp32"
ACCURACY_KEYS = (
    "mean_kl_nat_per_token",
    "p99_kl_nat_per_token",
    "top1_agreement_fraction",
    "perplexity_change_fraction",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationSpec:
    """What to measure. The same spec on the same machine is the same measurement."""

    model: str
    """Folder with a transformers causal language model, or a hub id."""
    methods: tuple[str, ...] = tuple(METHODS)
    text: str | None = None
    """UTF-8 file for the accuracy check; None is the held-out text of the reference model."""
    n_windows: int = 64
    window_tokens: int = 512
    prompt_tokens: int = 128
    decode_tokens: int = 32
    prefill_tokens: int = 512
    batches: tuple[int, ...] = (1, 8)
    rounds: int = 7
    """Rounds of the speed measurement; in each, all variants take their turn in a random order."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile for the speed measurement; auto: on CUDA (with CUDA graphs), not on the CPU, where it takes minutes."""
    random_weights: bool = False
    """Only the shape counts: no accuracy is measured and answers are meaningless."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(
            self, "n_windows", "window_tokens", "prompt_tokens", "decode_tokens", "prefill_tokens", "rounds"
        )
        unknown = [m for m in self.methods if m not in METHODS]
        if unknown or not self.methods:
            raise InvalidSpec(
                f"Unknown methods: {', '.join(unknown)}." if unknown else "No method was chosen.",
                remedy=f"Choose from: {', '.join(METHODS)}.",
            )
        if not self.batches or any(b < 1 for b in self.batches):
            raise InvalidSpec(f"Batches {self.batches!r}.", remedy="Give batch sizes from 1 on.")
        if self.device not in {"auto", "cpu", "cuda"}:
            raise InvalidSpec(f"Device {self.device!r}.", remedy="Choose auto, cpu or cuda.")
        if self.compile not in {"auto", "on", "off"}:
            raise InvalidSpec(f"Compile {self.compile!r}.", remedy="Choose auto, on or off.")

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "QuantizationSpec":
        """A spec read back; unknown fields raise ``InvalidSpec``."""
        names = {f.name for f in fields(cls)}
        extra = set(data) - names
        if extra or "model" not in data:
            problem = f"unknown fields {', '.join(sorted(extra))}" if extra else "no model"
            raise InvalidSpec(f"This spec has {problem}.", remedy=f"Use: {', '.join(sorted(names))}.")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)

    def as_code(self) -> str:
        """Python that makes this spec and runs it."""
        lines = [f"    {k}={v!r}," for k, v in asdict(self).items() if v != _default(k)]
        return (
            "from workbench.core.quantization import QuantizationSpec\n"
            "from workbench.experiments.quantization import run\n\n"
            "spec = QuantizationSpec(\n" + "\n".join(lines) + "\n)\nresult = run(spec)\n"
        )


def _default(name: str) -> Any:
    return next(f.default for f in fields(QuantizationSpec) if f.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeTime:
    """Time of one decoding step at one batch size; the step makes one token for each sequence."""

    batch: int
    p50_s: float
    p50_low_s: float
    p50_high_s: float
    p99_s: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """What one method costs. ``None`` means that it was not measured; ``reason`` then says why."""

    method: str
    status: Literal["measured", "not available", "failed"]
    reason: str | None = None
    execution: str | None = None
    """How it ran: "eager", "compiled" (torch.compile with CUDA graphs) or "onnxruntime"."""
    n_tokens: int | None = None
    perplexity: float | None = None
    perplexity_change_fraction: Interval | None = None
    mean_kl_nat_per_token: Interval | None = None
    p99_kl_nat_per_token: Interval | None = None
    top1_agreement_fraction: Interval | None = None
    weight_bytes: int | None = None
    """Bytes of all stored tensors, embeddings and scales included."""
    peak_memory_bytes: int | None = None
    """CUDA: most memory allocated while running. CPU: most resident memory over that before loading."""
    quantize_s: float | None = None
    prefill_tokens_per_s: float | None = None
    decode: tuple[DecodeTime, ...] = ()
    interleaved: bool = True
    """Whether the speed was measured in turns with the other variants."""

    def decode_at(self, batch: int) -> DecodeTime | None:
        """The decoding time at one batch size, if it was measured."""
        return next((d for d in self.decode if d.batch == batch), None)

    def to_dict(self) -> dict[str, Any]:
        """The documented keys of ``workbench quantize --json``: intervals become ``_low`` and ``_high``."""
        method = METHODS[self.method]
        row: dict[str, Any] = {"label": method.label, "runtime": method.runtime, "provenance": "measured"}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in ACCURACY_KEYS:
                row |= {f.name: None, f"{f.name}_low": None, f"{f.name}_high": None}
                if value is not None:
                    row |= {f.name: value.value, f"{f.name}_low": value.low, f"{f.name}_high": value.high}
            elif f.name == "decode":
                row["decode"] = [asdict(d) for d in value]
            else:
                row[f.name] = value
        return row

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> "VariantResult":
        """A row read back from JSON."""
        data: dict[str, Any] = {
            f.name: row.get(f.name) for f in fields(cls) if f.name not in {*ACCURACY_KEYS, "decode"}
        }
        for key in ACCURACY_KEYS:
            present = row.get(key) is not None
            data[key] = Interval(row[key], row[f"{key}_low"], row[f"{key}_high"]) if present else None
        return cls(**data, decode=tuple(DecodeTime(**d) for d in row.get("decode", ())))


def unavailable_reason(method: str, device: Device) -> str | None:
    """Why a method cannot run on a device, or None when it can."""
    if device.kind == "cpu":
        if method == "fp8-dynamic":
            return "needs a GPU with FP8 tensor cores (compute capability 8.9 or higher); this device is a CPU"
        return None
    if METHODS[method].runtime == "onnxruntime":
        return "runs on the CPU only: choose the device cpu to measure it"
    needed = {"fp8-dynamic": 8.9, "fp8-weight": 8.9, "int4-g32": 8.0, "int4-g128": 8.0, "bf16": 8.0}.get(method, 7.0)
    has = device.compute_capability or 0.0
    return None if has >= needed else f"needs compute capability {needed}; {device.name} has {has}"


def perplexity(nll_nat_per_token: float) -> float:
    """E to the mean negative log-likelihood."""
    return math.exp(nll_nat_per_token)
