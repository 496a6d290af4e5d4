"""Settings of a vLLM server that a tuner may change: their flags, and the combinations that vLLM refuses."""

import shlex
from dataclasses import dataclass

from workbench.catalog.model_spec import ModelSpec
from workbench.core.checks import require_positive
from workbench.estimate.machine import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSetting:
    """Flags of one launch; all of them are given, so that no default of a version or a device decides."""

    max_num_batched_tokens: int
    max_num_seqs: int
    prefix_caching: bool = True
    chunked_prefill: bool = True
    long_prefill_token_threshold: int = 0
    """Tokens of a prompt from which on it is read in pieces of so many; 0: none."""
    async_scheduling: bool = True
    kv_cache_dtype: str = "auto"
    tensor_parallel_size: int = 1
    checkpoint: str | None = None
    """Folder or hub id of other weights of the model; None: the model itself."""
    extra: tuple[str, ...] = ()
    """Further flags, which no simulation knows."""

    def __post_init__(self) -> None:
        require_positive(self, "max_num_batched_tokens", "max_num_seqs", "tensor_parallel_size")

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the server flags of the setting, all of them with their values."""
        on_off = (
            ("enable-prefix-caching", self.prefix_caching),
            ("enable-chunked-prefill", self.chunked_prefill),
            ("async-scheduling", self.async_scheduling),
        )
        flags = [
            "--max-num-batched-tokens",
            str(self.max_num_batched_tokens),
            "--max-num-seqs",
            str(self.max_num_seqs),
            *(f"--{name}" if is_on else f"--no-{name}" for name, is_on in on_off),
        ]
        if self.long_prefill_token_threshold:
            flags += ["--long-prefill-token-threshold", str(self.long_prefill_token_threshold)]
        if self.kv_cache_dtype != "auto":
            flags += ["--kv-cache-dtype", self.kv_cache_dtype]
        if self.tensor_parallel_size > 1:
            flags += ["--tensor-parallel-size", str(self.tensor_parallel_size)]
        return (*flags, *self.extra)

    @property
    def label(self) -> str:
        """Return the setting in a few words, with what differs from vLLM's usual switches."""
        switches = (
            ("no prefix cache", not self.prefix_caching),
            ("no chunked prefill", not self.chunked_prefill),
            (f"long prompts by {self.long_prefill_token_threshold}", bool(self.long_prefill_token_threshold)),
            ("no async scheduling", not self.async_scheduling),
            (f"{self.kv_cache_dtype} cache", self.kv_cache_dtype != "auto"),
            (f"TP {self.tensor_parallel_size}", self.tensor_parallel_size > 1),
            (str(self.checkpoint).rstrip("/").rpartition("/")[2], self.checkpoint is not None),
            (shlex.join(self.extra), bool(self.extra)),
        )
        parts = [f"{self.max_num_batched_tokens} tokens", f"{self.max_num_seqs} sequences"]
        return ", ".join([*parts, *(text for text, is_shown in switches if is_shown)])


def reason_against(
    setting: VllmSetting, model: ModelSpec, *, device: str, max_model_len: int | None, n_devices: int = 1
) -> str | None:
    """Return why vLLM would refuse a setting, as its configuration checks say (vllm/config, 0.26 and 0.32); None where it starts.

    Args:
        setting: The flags.
        model: What is served.
        device: "cpu" or "cuda".
        max_model_len: Longest request of the server, where known.
        n_devices: Devices of this machine.
    """
    s = setting
    if s.max_num_batched_tokens < s.max_num_seqs:
        return f"a step of {s.max_num_batched_tokens} tokens is smaller than {s.max_num_seqs} sequences"
    if not s.chunked_prefill and max_model_len and s.max_num_batched_tokens < max_model_len:
        return f"without chunked prefill a step must hold the longest request, {max_model_len} tokens"
    if max_model_len and s.long_prefill_token_threshold > max_model_len:
        return f"the threshold of long prompts is above the longest request, {max_model_len} tokens"
    if s.tensor_parallel_size > n_devices and device == "cuda":
        return f"tensor parallelism over {s.tensor_parallel_size} devices, and there are {n_devices}"
    if s.kv_cache_dtype != "auto" and device == "cpu":
        return "the CPU build has no cache in 8 bits that was checked here"
    reason = Split(tensor=s.tensor_parallel_size).reason_against(model)
    return None if reason is None else f"tensor parallelism: {reason}"
