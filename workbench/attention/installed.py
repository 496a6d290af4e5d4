"""Attention kernels from other packages, used where they can be imported and called; nothing stands in for them."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import torch

from workbench.core.errors import NotAvailable

Tensor = torch.Tensor


def _pack(x: Tensor) -> Tensor:
    """Return (batch, heads, tokens, head_dim) as (batch x tokens, heads, head_dim)."""
    return x.transpose(1, 2).reshape(-1, x.shape[1], x.shape[3]).contiguous()


def _ends(batch: int, tokens: int, device: torch.device) -> Tensor:
    return torch.arange(0, (batch + 1) * tokens, tokens, dtype=torch.int32, device=device)


def _needs_cuda(q: Tensor, name: str) -> None:
    if q.device.type != "cuda":
        raise NotAvailable(f"{name} runs on NVIDIA GPUs only.", remedy="Choose flash or math here.")
    if q.dtype not in {torch.float16, torch.bfloat16}:
        raise NotAvailable(f"{name} takes 16-bit numbers, not {q.dtype}.", remedy="Use bfloat16.")


def varlen_call(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Callable[[], Tensor]:
    """Return a call of ``torch.nn.attention.varlen.varlen_attn``; raises ``NotAvailable`` where this torch lacks it."""
    _needs_cuda(q, "varlen_attn")
    try:
        module = import_module("torch.nn.attention.varlen")
    except ImportError as error:
        raise NotAvailable(f"PyTorch {torch.__version__} has no varlen_attn.", remedy="Use 2.11 or later.") from error
    import inspect

    names = inspect.signature(module.varlen_attn).parameters
    named: dict[str, object] = {"scale": scale} if scale is not None else {}
    if "window_size" in names:
        named["window_size"] = (-1, 0)
    else:
        named["is_causal"] = True
    if "enable_gqa" in names:
        named["enable_gqa"] = q.shape[1] != k.shape[1]
    elif q.shape[1] != k.shape[1]:
        group = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    packed = [_pack(x) for x in (q, k, v)]
    ends = _ends(q.shape[0], q.shape[2], q.device), _ends(q.shape[0], k.shape[2], q.device)
    return lambda: _unpack(module.varlen_attn(*packed, *ends, q.shape[2], k.shape[2], **named), q)


def _unpack(out: Tensor, q: Tensor) -> Tensor:
    return out.reshape(q.shape[0], q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)


def fa3_call(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Callable[[], Tensor]:
    """Return a call of FlashAttention 3 from ``flash_attn_interface``, else the build inside vLLM."""
    _needs_cuda(q, "FlashAttention 3")
    own: ModuleType | None
    try:
        own = import_module("flash_attn_interface")
    except ImportError:
        own = None
    if own is not None:
        rows = [x.transpose(1, 2).contiguous() for x in (q, k, v)]

        def plain() -> Tensor:
            out = own.flash_attn_func(*rows, softmax_scale=scale, causal=True)
            first: Tensor = out[0] if isinstance(out, tuple) else out
            return first.transpose(1, 2)

        return plain
    try:
        inside = import_module("vllm.vllm_flash_attn.flash_attn_interface")
        if not inside.is_fa_version_supported(3):
            raise NotAvailable("vLLM's FlashAttention 3 does not support this GPU.", remedy="It needs Hopper.")
    except ImportError as error:
        raise NotAvailable(
            "FlashAttention 3 is not installed.", remedy="Install flash_attn_interface, or run where vLLM is."
        ) from error
    packed = [_pack(x) for x in (q, k, v)]
    ends = _ends(q.shape[0], q.shape[2], q.device), _ends(q.shape[0], k.shape[2], q.device)

    def from_vllm() -> Tensor:
        out = inside.flash_attn_varlen_func(
            *packed,
            cu_seqlens_q=ends[0],
            cu_seqlens_k=ends[1],
            max_seqlen_q=q.shape[2],
            max_seqlen_k=k.shape[2],
            softmax_scale=scale,
            causal=True,
            fa_version=3,
        )
        return _unpack(out[0] if isinstance(out, tuple) else out, q)

    return from_vllm


def flashinfer_call(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Callable[[], Tensor]:
    """Return a call of FlashInfer's kernels for one sequence; they are compiled at first use where no binary ships."""
    _needs_cuda(q, "FlashInfer")
    if q.shape[0] != 1:
        raise NotAvailable("FlashInfer's plain kernels take one sequence.", remedy="Use batch 1.")
    try:
        flashinfer = import_module("flashinfer")
    except ImportError as error:
        raise NotAvailable("FlashInfer is not installed.", remedy="pip install flashinfer-python") from error
    rows = [x[0].transpose(0, 1).contiguous() for x in (q, k, v)]
    if q.shape[2] == 1:
        return lambda: flashinfer.single_decode_with_kv_cache(rows[0][0], rows[1], rows[2], sm_scale=scale)[
            None, :, None
        ]
    return lambda: flashinfer.single_prefill_with_kv_cache(*rows, causal=True, sm_scale=scale).transpose(0, 1)[None]
