"""What of a served model may raise the use of the device, and the launches of vLLM with each technique and without it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from workbench.core.checks import require_known, require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.knobs import DeviceChoice, RandomWeights, Seed, advanced, knob
from workbench.core.language import gettext, gettext_noop
from workbench.core.specs import Spec
from workbench.estimate.knobs import offered_model

TECHNIQUES: dict[str, str] = {
    "async": gettext_noop("asynchronous scheduling"),
    "fusion": gettext_noop("operator fusion"),
    "pool": gettext_noop("memory pool"),
}
COMPARISONS: dict[str, str] = {
    "async": gettext_noop("the next step is scheduled while one runs, against after it"),
    "fusion": gettext_noop(
        "norms, rotary embedding and activation fused by torch.compile, against a kernel for each of their operators; "
        "CUDA graphs of decode steps on both sides"
    ),
    "pool": gettext_noop(
        "PyTorch's caching allocator, against a cudaMalloc and a cudaFree for each tensor; eager steps on both sides"
    ),
}
"""What is compared with what for each technique."""
ON_A_PROCESSOR: dict[str, str] = {
    "async": gettext_noop("vLLM schedules synchronously on a processor, whatever the flag"),
    "pool": gettext_noop("the caching allocator is that of an NVIDIA GPU"),
}
"""Techniques that need a GPU, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchWith:
    """What a launch of vLLM has beside the model and its address."""

    flags: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment."""


# Full graphs of decode steps alone are what vLLM captures without torch.compile too (0.26, vllm/config/compilation.py).
GRAPHS = '"cudagraph_mode": "FULL_DECODE_ONLY"'
COMPILED, NOT_COMPILED = f'{{"mode": 3, {GRAPHS}}}', f'{{"mode": 0, "custom_ops": ["none"], {GRAPHS}}}'
# `custom_ops` does not reach norms since they are vLLM IR: without torch.compile vLLM's fused kernel would run (platforms/cuda.py).
PLAIN_NORMS = '{"rms_norm": ["native"], "fused_add_rms_norm": ["native"]}'
LAUNCHES: dict[str, LaunchWith] = {
    "default": LaunchWith(flags=("--async-scheduling", f"--compilation-config={COMPILED}")),
    "synchronous": LaunchWith(flags=("--no-async-scheduling", f"--compilation-config={COMPILED}")),
    "unfused": LaunchWith(
        flags=("--async-scheduling", f"--compilation-config={NOT_COMPILED}", f"--ir-op-priority={PLAIN_NORMS}")
    ),
    "eager": LaunchWith(flags=("--async-scheduling", "--enforce-eager")),
    "uncached": LaunchWith(
        flags=("--async-scheduling", "--enforce-eager"), variables={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    ),
}
"""Launches by name; without its allocator PyTorch captures no CUDA graphs, so the last two have none."""
SIDES: dict[str, tuple[str, str]] = {
    "async": ("synchronous", "default"),
    "fusion": ("unfused", "default"),
    "pool": ("uncached", "eager"),
}
"""Launches without and with each technique."""
FLAG = re.compile(r"--[a-z][a-z0-9.-]*(=.+)?")
LEAST_S = 3.0


def launches_of(techniques: Sequence[str]) -> list[str]:
    """Return the launches that techniques need, each once."""
    return list(dict.fromkeys(name for t in techniques for name in SIDES[t]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTechniquesSpec(Spec):
    """Closed loops on a model that vLLM serves with and without each technique, interleaved, while the device is sampled."""

    kind: ClassVar[str] = "served_techniques"
    command: ClassVar[str] = "served-techniques"

    model: str = offered_model("Model", "Folder of a causal language model, or of a configuration for random weights.")
    techniques: tuple[str, ...] = knob(
        tuple(TECHNIQUES),
        "Techniques",
        "Techniques to measure, each compared with going without it.",
        choices=TECHNIQUES,
        option="only",
    )
    concurrency: int = knob(32, "Concurrency", "Number of users, each of whom always waits for an answer.", low=1)
    input_tokens: int = knob(256, "Prompt tokens", "Tokens of each prompt.", low=1)
    output_tokens: int = knob(128, "Output tokens", "Tokens of each answer.", low=2)
    rounds: int = knob(
        3, "Rounds", "Times that every server gets its load, one after the other, in an order drawn anew.", low=3
    )
    duration_s: float = knob(
        6.0, "Duration", "Seconds of each load; its first second is left out.", unit="s", low=LEAST_S, option="duration"
    )
    cache_gib: float = advanced(
        3.0, "KV cache", "Memory of the KV cache of each server on a GPU.", unit="GiB", low=0.1, option="cache-gib"
    )
    flags: tuple[str, ...] = advanced(
        (),
        "Further flags",
        "Flags of vLLM that every launch gets, such as --load-format=dummy.",
        option="flag",
        is_repeated=True,
    )
    device: DeviceChoice = "auto"
    random_weights: RandomWeights = False
    seed: Seed = 0

    def __post_init__(self) -> None:
        require_known("techniques", self.techniques, TECHNIQUES)
        require_positive(self, "concurrency", "input_tokens", "cache_gib")
        if self.rounds < 3 or self.duration_s < LEAST_S or self.output_tokens < 2:
            raise InvalidSpec(
                gettext("{n} rounds of {duration} s with answers of {n_tokens} tokens.").format(
                    n=self.rounds, duration=f"{self.duration_s:g}", n_tokens=self.output_tokens
                ),
                remedy=gettext("Give 3 or more rounds of {least} s or more, and answers of 2 or more tokens.").format(
                    least=f"{LEAST_S:g}"
                ),
            )
        if wrong := [flag for flag in self.flags if not FLAG.fullmatch(flag)]:
            raise InvalidSpec(
                gettext("{flag} is no flag.").format(flag=repr(wrong[0])),
                remedy=gettext("Give --name, or --name=value."),
            )
