"""Which number formats vLLM has kernels for on a device, and what it computes instead where it has none of a format's own."""

from workbench.catalog.formats import FORMATS
from workbench.catalog.tables import DeviceSpec
from workbench.core.language import gettext

# vLLM 0.32, read from its sources: get_min_capability of the schemes in quantization/compressed_tensors, is_fp8_marlin_supported
# and is_fp4_marlin_supported (7.5), the W8A8 FP8 scheme (8.9, else weight only), kernels/linear/nvfp4 (native from 10.0, else
# Marlin), quantization/mxfp4.py (8.0), docs "Supported Hardware for Quantization Kernels" (INT8 W8A8 not on Blackwell).
FIRST_BF16, FIRST_FP8, FIRST_FP4, FIRST_MARLIN, FIRST_MXFP4 = 8.0, 8.9, 10.0, 7.5, 8.0
MARLIN = ("w8a16", "w4a16", "w4a16-asym", "nvfp4a16", "fp8a16")
"""Weight-only formats of the Marlin kernels; from compute capability 7.5 on."""
AMD = {
    "gfx90a": ("bf16", "fp16", "w4a16"),
    "gfx942": ("bf16", "fp16", "fp8", "w4a16", "mxfp4"),
    "gfx950": ("bf16", "fp16", "fp8", "w4a16", "mxfp4"),
}
"""Formats by architecture of AMD's accelerators (platforms/rocm.py; FP8 and MXFP4 of CDNA3 and CDNA4)."""

FP8_PLUGINS = ("gaudi3",)
"""Devices of other makers whose vLLM plug-in multiplies FP8 (vllm-gaudi, "FP8 calibration and inference")."""


def capability(device: DeviceSpec) -> float | None:
    """Return the compute capability of an NVIDIA device; None for others."""
    try:
        return float(device.compute_capability)
    except ValueError:
        return None


def has_fp8_cache(device: DeviceSpec) -> bool:
    """Return whether attention reads a KV cache in FP8 (FlashInfer from 8.0 on: v1/attention/backends/flashinfer.py)."""
    nvidia = capability(device)
    return nvidia >= FIRST_BF16 if nvidia is not None else kernel_format("fp8", device) == "fp8"


def has_bf16(device: DeviceSpec) -> bool:
    """Return whether a device multiplies BF16 numbers; T4 and V100 do not."""
    nvidia = capability(device)
    return device.bf16_flop_per_s is not None and (nvidia is None or nvidia >= FIRST_BF16)


def kernel_format(precision: str, device: DeviceSpec) -> str | None:
    """Return the format that a device computes a precision in: itself, weights only, FP16 for BF16; None where nothing runs it."""
    if precision == "bf16" and not has_bf16(device):
        return "fp16" if device.fp16_flop_per_s else None
    nvidia = capability(device)
    if nvidia is None:
        return precision if precision in AMD.get(device.compute_capability, _of_other_makers(device)) else None
    if precision in ("bf16", "fp16"):
        return precision
    if precision == "fp8" and nvidia >= FIRST_FP8:
        return "fp8"
    if precision == "nvfp4" and nvidia >= FIRST_FP4:
        return "nvfp4"
    if precision == "w8a8":
        return "w8a8" if FIRST_MARLIN <= nvidia < FIRST_FP4 else None
    if precision == "mxfp4":
        return "mxfp4" if nvidia >= FIRST_MXFP4 else None
    weights_only = {"fp8": "fp8a16", "nvfp4": "nvfp4a16"}.get(precision, precision)
    return weights_only if weights_only in MARLIN and nvidia >= FIRST_MARLIN else None


def _of_other_makers(device: DeviceSpec) -> tuple[str, ...]:
    """Return what devices with a plug-in of their own are planned in: 16 bits, and FP8 where the plug-in has it."""
    return ("bf16", "fp16", *(("fp8",) if device.id in FP8_PLUGINS else ()))


def reason_without_kernel(precision: str, device_name: str) -> str:
    """Return why a precision cannot be served on a device, in words."""
    return gettext("vLLM has no kernel for {format} on {device}").format(
        format=FORMATS[precision].label, device=device_name
    )
