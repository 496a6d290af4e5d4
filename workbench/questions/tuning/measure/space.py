"""The settings of a search: every combination of the values that are tried, those that vLLM refuses apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workbench.catalog.models import model_spec_from
from workbench.core.devices import Device
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.engines.vllm_settings import VllmSetting, reason_against
from workbench.estimate.serving_memory import batched_sequences, batched_tokens
from workbench.questions.tuning.spec import TuneSpec

CPU_TOKENS, CPU_SEQUENCES = 2048, 128  # vLLM's own on a processor (vllm/engine/arg_utils.py, 0.32)
TOKENS_LADDER = (1 / 8, 1 / 4, 1 / 2, 1, 2)
SEQUENCES_LADDER = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
ABSENT = "default"
"""Value of a further flag that leaves it out."""
MOST_SETTINGS = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Settings that can be tried, the default first, and those that cannot, with the reason."""

    valid: Sequence[VllmSetting]
    refused: Sequence[tuple[VllmSetting, str]]

    @property
    def default(self) -> VllmSetting:
        """Return what vLLM does without flags."""
        return self.valid[0]


def space(spec: TuneSpec, device: Device, *, n_devices: int = 1) -> Space:
    """Return the settings of a spec on a device; raises ``InvalidSpec`` where the default itself is refused."""
    tokens, sequences = vllm_defaults(device)
    extras = [options for flag in spec.flags if len(options := _options(flag)) > 1]
    default = VllmSetting(
        max_num_batched_tokens=tokens, max_num_seqs=sequences, extra=tuple(x for o in extras for x in o[0])
    )
    model = model_spec_from(spec.model)
    length = spec.max_model_len or model.max_context_tokens
    values: dict[str, Sequence[Any]] = {
        "max_num_batched_tokens": spec.batched_tokens or [round(f * tokens) for f in TOKENS_LADDER],
        "max_num_seqs": spec.sequences or [round(f * sequences) for f in SEQUENCES_LADDER],
        "prefix_caching": [v == "on" for v in spec.prefix_caching],
        "chunked_prefill": [v == "on" for v in spec.chunked_prefill],
        "long_prefill_token_threshold": spec.long_prefill,
        "async_scheduling": [v == "on" for v in spec.async_scheduling],
        "kv_cache_dtype": spec.kv_cache,
        "tensor_parallel_size": spec.tensor,
        "checkpoint": (None, *spec.checkpoints),
        "extra": [tuple(x for option in chosen for x in option) for chosen in product(*extras)],
    }
    made = [VllmSetting(**dict(zip(values, chosen, strict=True))) for chosen in product(*values.values())]
    settings = list(dict.fromkeys([default, *made]))
    if len(settings) > MOST_SETTINGS:
        raise InvalidSpec(
            gettext("{n} settings are too many.").format(n=f"{len(settings):,}"),
            remedy=gettext("Try fewer values, up to {most} settings.").format(most=f"{MOST_SETTINGS:,}"),
        )
    reasons = [
        reason_against(s, model, device=device.kind, max_model_len=length, n_devices=n_devices) for s in settings
    ]
    if reasons[0] is not None:
        raise InvalidSpec(
            gettext("vLLM's own defaults do not serve {model}: {reasons}.").format(
                model=spec.model, reasons=reasons[0]
            ),
            remedy=gettext("Change the model or the device."),
        )
    return Space(
        valid=[s for s, r in zip(settings, reasons, strict=True) if r is None],
        refused=[(s, r) for s, r in zip(settings, reasons, strict=True) if r is not None],
    )


def vllm_defaults(device: Device) -> tuple[int, int]:
    """Return vLLM's own tokens of a step and sequences at once on a device."""
    if device.kind == "cpu":
        return CPU_TOKENS, CPU_SEQUENCES
    if "A100" in device.name:
        return 2048, 256
    return batched_tokens(device.memory_bytes), batched_sequences(device.memory_bytes)


def constant_flags(spec: TuneSpec) -> tuple[str, ...]:
    """Return the further flags that have one value, with which every setting is launched, and the longest request."""
    length = (f"--max-model-len={spec.max_model_len}",) if spec.max_model_len else ()
    return (*length, *(options[0][0] for flag in spec.flags if len(options := _options(flag)) == 1 and options[0]))


def _options(flag: str) -> list[tuple[str, ...]]:
    name, _, values = flag.partition("=")
    if not values:
        return [(name,)]
    return [() if value == ABSENT else (f"{name}={value}",) for value in values.split("|")]
