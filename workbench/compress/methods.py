"""Ways to store and run a model's linear layers, and which device can run each."""

from dataclasses import dataclass
from typing import Literal

from workbench.core.devices import Device
from workbench.core.language import gettext, gettext_noop
from workbench.core.stored_texts import in_readers_words

REFERENCE_METHOD = "fp32"

Runtime = Literal["torch", "onnxruntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to store and run a model's linear layers."""

    name: str
    label: str
    runtime: Runtime
    weight_bits: float
    """Stored bits per weight of the linear layers, scales included (one 16-bit scale per group)."""
    note: str
    claim: str | None = None
    """Technique of ``data/claims.csv`` whose published values are about this method."""
    vllm_flag: str | None = None
    """What ``vllm serve`` needs to load the same format, where it has one."""


NEEDS_FP8 = gettext_noop("needs a GPU with FP8 tensor cores (compute capability 8.9 or higher); this device is a CPU")
CPU_ONLY = gettext_noop("runs on the CPU only: choose the device cpu to measure it")
NEEDS_CAPABILITY = gettext_noop("needs compute capability {needed}; {device} has {has}")
_TORCHAO = "--quantization torchao"
_PLAIN_ROUNDING = gettext("torchao, round to nearest, no calibration")


def _torch(name: str, label: str, bits: float, note: str, vllm_flag: str, *, claim: str | None = None) -> Method:
    return Method(
        name=name, label=label, runtime="torch", weight_bits=bits, note=note, vllm_flag=vllm_flag, claim=claim
    )


def _onnx(name: str, label: str, bits: float, note: str, *, claim: str | None = None) -> Method:
    return Method(name=name, label=label, runtime="onnxruntime", weight_bits=bits, note=note, claim=claim)


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        _torch("fp32", "FP32", 32, gettext("the reference"), "--dtype float32"),
        _torch("bf16", "BF16", 16, gettext("every tensor in bfloat16"), "--dtype bfloat16", claim="FP16"),
        _torch(
            "int8-weight",
            gettext("INT8 weight-only"),
            8,
            gettext("torchao, one scale per row"),
            _TORCHAO,
            claim="INT8 PTQ",
        ),
        _torch(
            "int8-dynamic",
            gettext("INT8 dynamic"),
            8,
            gettext("torchao, activations quantized per token"),
            _TORCHAO,
            claim="INT8 PTQ",
        ),
        _torch("int4-g32", gettext("INT4 group 32"), 4.5, _PLAIN_ROUNDING, _TORCHAO),
        _torch("int4-g128", gettext("INT4 group 128"), 4.125, _PLAIN_ROUNDING, _TORCHAO),
        _torch("fp8-weight", gettext("FP8 weight-only"), 8, gettext("torchao, e4m3, the rest in bfloat16"), _TORCHAO),
        _torch(
            "fp8-dynamic",
            gettext("FP8 dynamic"),
            8,
            gettext("torchao, e4m3 weights and activations"),
            "--quantization fp8",
        ),
        _onnx("onnx-fp32", "ONNX FP32", 32, gettext("export with KV cache")),
        _onnx(
            "onnx-int8-dynamic",
            gettext("ONNX INT8 dynamic"),
            8,
            gettext("weights per channel, activations per tensor"),
            claim="INT8 PTQ",
        ),
        _onnx("onnx-int4-g32", gettext("ONNX INT4 group 32"), 4.5, gettext("MatMulNBits, round to nearest")),
        _onnx(
            "onnx-int8-static",
            gettext("ONNX INT8 static"),
            8,
            gettext("QDQ on linear layers only: attention and rotary products stay in float"),
            claim="INT8 PTQ",
        ),
    )
}


def unavailable_reason(method: str, device: Device) -> str | None:
    """Return why a method cannot run on a device, or None when it can."""
    if device.kind == "cpu":
        if method == "fp8-dynamic":
            return NEEDS_FP8
        return None
    if METHODS[method].runtime == "onnxruntime":
        return CPU_ONLY
    needed = {"fp8-dynamic": 8.9, "fp8-weight": 8.9, "int4-g32": 8.0, "int4-g128": 8.0, "bf16": 8.0}.get(method, 7.0)
    has = device.compute_capability or 0.0
    return None if has >= needed else NEEDS_CAPABILITY.format(needed=needed, device=device.name, has=has)


def shown_reason(reason: str) -> str:
    """Return why a method was not measured, which is stored in English, in the reader's language."""
    return in_readers_words(reason, (NEEDS_FP8, CPU_ONLY, NEEDS_CAPABILITY))
