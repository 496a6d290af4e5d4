"""Quantized checkpoints: number formats, the schemes that make them, and which layers go together."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.specs import checked_fields, spec_code

Algorithm = Literal["rtn", "gptq", "awq", "smoothquant-gptq"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How the weights of a linear layer are stored and what its inputs are rounded to."""

    name: str
    label: str
    bits: float
    """Of one weight, without scales."""
    group_size: int | None
    """Neighbouring inputs that share a scale; None: one scale per output row."""
    scale_bits: float
    weights: Mapping[str, Any] | None
    """``weights`` of a compressed-tensors scheme; None leaves the layer as it is."""
    inputs: Mapping[str, Any] | None = None
    packing: str = ""
    """The ``format`` of a compressed-tensors configuration."""
    product_bits: int = 16
    """Width of the numbers that are multiplied, so which peak rate of a device holds."""

    def stored_bits(self, *, in_features: int) -> float:
        """Bits per weight of a layer with so many inputs, scales included."""
        return self.bits + self.scale_bits / (self.group_size or in_features)


_INT = {"type": "int", "symmetric": True, "dynamic": False}
_INT4 = _INT | {"num_bits": 4, "strategy": "group", "group_size": 128}


def _integer_format(bits: int) -> Format:
    """Integers in groups of 128. vLLM 0.26.0 has kernels for 4 and 8 bits on an H200, 0.32.0 for 4 on a CPU."""
    return Format(
        name=f"w{bits}a16",
        label=f"INT{bits} weights, group 128",
        bits=bits,
        group_size=128,
        scale_bits=16,
        weights=_INT4 | {"num_bits": bits},
        packing="pack-quantized",
    )


_PER_TOKEN = {"num_bits": 8, "strategy": "token", "symmetric": True, "dynamic": True}
FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(name="bf16", label="BF16", bits=16, group_size=None, scale_bits=0, weights=None),
        *(_integer_format(bits) for bits in (3, 5, 6)),
        Format(
            name="w8a16",
            label="INT8 weights",
            bits=8,
            group_size=None,
            scale_bits=16,
            weights=_INT | {"num_bits": 8, "strategy": "channel"},
            packing="pack-quantized",
        ),
        Format(
            name="w8a8",
            label="INT8 weights and inputs",
            bits=8,
            group_size=None,
            scale_bits=16,
            weights=_INT | {"num_bits": 8, "strategy": "channel"},
            inputs=_PER_TOKEN | {"type": "int"},
            packing="int-quantized",
            product_bits=8,
        ),
        Format(
            name="fp8",
            label="FP8 weights and inputs",
            bits=8,
            group_size=None,
            scale_bits=16,
            weights={"num_bits": 8, "type": "float", "symmetric": True, "dynamic": False, "strategy": "channel"},
            inputs=_PER_TOKEN | {"type": "float"},
            packing="float-quantized",
            product_bits=8,
        ),
        Format(
            name="w4a16",
            label="INT4 weights, group 128",
            bits=4,
            group_size=128,
            scale_bits=16,
            weights=_INT4,
            packing="pack-quantized",
        ),
        Format(
            name="w4a16-asym",
            label="INT4 weights with zero points, group 128",
            bits=4,
            group_size=128,
            scale_bits=20,
            weights=_INT4 | {"symmetric": False},
            packing="pack-quantized",
        ),
        Format(
            name="nvfp4a16",
            label="NVFP4 weights, group 16",
            bits=4,
            group_size=16,
            scale_bits=8,
            weights={
                "num_bits": 4,
                "type": "float",
                "symmetric": True,
                "dynamic": False,
                "strategy": "tensor_group",
                "group_size": 16,
                "scale_dtype": "torch.float8_e4m3fn",
                "zp_dtype": "torch.float8_e4m3fn",
            },
            packing="nvfp4-pack-quantized",
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to make a checkpoint: an algorithm and the format of every linear layer but the output head."""

    name: str
    label: str
    algorithm: Algorithm
    format: str
    claim: str | None = None
    """Technique in ``data/claims.csv`` that makes a promise about it."""

    @property
    def needs_text(self) -> bool:
        """Whether activations are looked at while it is made."""
        return self.algorithm != "rtn"


MIXED = "mixed"
SCHEMES: dict[str, Scheme] = {
    s.name: s
    for s in (
        Scheme(name="rtn-w8a16", label="INT8 weights, rounded", algorithm="rtn", format="w8a16", claim="INT8 PTQ"),
        Scheme(name="rtn-w4a16", label="INT4 weights, rounded", algorithm="rtn", format="w4a16"),
        Scheme(name="gptq-w4a16", label="GPTQ W4A16", algorithm="gptq", format="w4a16", claim="INT4 GPTQ"),
        Scheme(name="awq-w4a16", label="AWQ W4A16", algorithm="awq", format="w4a16-asym", claim="INT4 AWQ"),
        Scheme(
            name="smoothquant-w8a8",
            label="SmoothQuant + GPTQ W8A8",
            algorithm="smoothquant-gptq",
            format="w8a8",
            claim="INT8 PTQ",
        ),
        Scheme(name="fp8-dynamic", label="FP8 dynamic", algorithm="rtn", format="fp8"),
        Scheme(name="nvfp4a16", label="NVFP4A16", algorithm="rtn", format="nvfp4a16"),
    )
}


FUSED = {"q_proj": "qkv", "k_proj": "qkv", "v_proj": "qkv", "gate_proj": "gate_up", "up_proj": "gate_up"}
"""Layers that serving engines run as one product; they must share a format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """Linear layers that are decided together."""

    name: str
    """Path of the modules with the fused name last: ``model.layers.0.self_attn.qkv``."""
    modules: tuple[str, ...]

    @property
    def layer(self) -> int | None:
        """Number of the decoder layer, where the path has one."""
        return next((int(part) for part in self.name.split(".") if part.isdigit()), None)

    @property
    def role(self) -> str:
        """What it does in its layer: qkv, o_proj, gate_up, down_proj."""
        return self.name.rsplit(".", 1)[-1]


def layer_groups(modules: Iterable[str]) -> list[LayerGroup]:
    """Groups of linear layers in the order of the model; the output head is left out."""
    groups: dict[str, list[str]] = {}
    for module in modules:
        parent, _, last = module.rpartition(".")
        if last == "lm_head":
            continue
        groups.setdefault(f"{parent}.{FUSED.get(last, last)}", []).append(module)
    return [LayerGroup(name=name, modules=tuple(members)) for name, members in groups.items()]


def group_named(name: str) -> LayerGroup:
    """The group of a name made by ``layer_groups``."""
    parent, _, last = name.rpartition(".")
    parts = [module for module, fused in FUSED.items() if fused == last] or [last]
    return LayerGroup(name=name, modules=tuple(f"{parent}.{part}" for part in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSpec:
    """Checkpoints to make. The same spec with the same packages makes the same checkpoints."""

    model: str
    schemes: tuple[str, ...] = tuple(SCHEMES)
    """Names in ``SCHEMES``, or "mixed" with a plan."""
    plan: Mapping[str, str] | None = None
    """For "mixed": the format of each layer group by its name."""
    text: str | None = None
    """UTF-8 file for calibration; None is the calibration text of the reference model."""
    n_samples: int = 64
    sample_tokens: int = 512
    out: str | None = None
    """Folder for the checkpoints; None is a folder beside the stored runs."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_positive(self, "n_samples", "sample_tokens")
        known = (*SCHEMES, MIXED)
        unknown = [s for s in self.schemes if s not in known]
        if unknown or not self.schemes:
            raise InvalidSpec(
                f"Unknown schemes: {', '.join(unknown)}." if unknown else "No scheme was chosen.",
                remedy=f"Choose from: {', '.join(known)}.",
            )
        if (MIXED in self.schemes) != (self.plan is not None):
            raise InvalidSpec(
                'The scheme "mixed" and a plan belong together.',
                remedy="Give a plan (see `workbench sensitivity`) with the scheme mixed, or neither.",
            )
        odd = sorted({f for f in (self.plan or {}).values() if f not in FORMATS})
        if odd:
            raise InvalidSpec(f"Unknown formats in the plan: {', '.join(odd)}.", remedy=f"Use: {', '.join(FORMATS)}.")

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
            for name, value in ((n, getattr(self, n)) for n in self.__dataclass_fields__)
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CheckpointSpec":
        """A spec read back; unknown fields raise ``InvalidSpec``."""
        return cls(**checked_fields(cls, data))

    def as_code(self) -> str:
        """Python that makes this spec and runs it."""
        return spec_code(self, experiment="checkpoint")


def config_groups(plan: Mapping[str, str], groups: Sequence[LayerGroup]) -> dict[str, dict[str, Any]]:
    """The ``config_groups`` of a compressed-tensors recipe: for each used format the modules that have it.

    Raises:
        InvalidSpec: the plan names other groups than the model has.
    """
    made: dict[str, dict[str, Any]] = {}
    for group, form in formats_of(plan, groups):
        if form.weights is None:
            continue
        entry = made.setdefault(form.name, {"targets": [], "weights": dict(form.weights), "format": form.packing})
        if form.inputs is not None:
            entry["input_activations"] = dict(form.inputs)
        entry["targets"] += group.modules
    return made


def formats_of(plan: Mapping[str, str], groups: Sequence[LayerGroup]) -> list[tuple[LayerGroup, Format]]:
    """Each group with its format. A plan names groups, or roles ("qkv") for all layers at once.

    Raises:
        InvalidSpec: the plan names other groups than the model has.
    """
    by_role = {role: form for role, form in plan.items() if "." not in role}
    if by_role:
        plan = {g.name: plan.get(g.name) or by_role.get(g.role, "bf16") for g in groups}
    names = {g.name for g in groups}
    unknown, missing = sorted(set(plan) - names), sorted(names - set(plan))
    if unknown or missing:
        told = f"does not know {unknown[0]}" if unknown else f"has also {missing[0]}, which the plan leaves out"
        raise InvalidSpec(f"The plan is for another model: this one {told}.", remedy="Make a plan for this model.")
    return [(g, FORMATS[plan[g.name]]) for g in groups]


def quantization_config(groups: Mapping[str, Mapping[str, Any]], *, kept: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint's ``config.json`` says about groups made by ``config_groups``; ``kept`` modules stay plain."""
    packings = {str(g["format"]) for g in groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": packings.pop() if len(packings) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": {f"group_{i}": dict(group) for i, group in enumerate(groups.values())},
        "ignore": list(kept),
    }


def recipe(plan: Mapping[str, str], groups: Sequence[LayerGroup]) -> str:
    """The plan as a recipe that ``llmcompressor.oneshot(recipe=FILE)`` reads (JSON, which is YAML too).

    Integers are quantized by GPTQ, floats are rounded; modules that keep bfloat16 are ignored.
    """
    made = config_groups(plan, groups)
    plain = ["lm_head", *(m for g, form in formats_of(plan, groups) if form.weights is None for m in g.modules)]
    steps: dict[str, Any] = {}
    for modifier, kind in (("GPTQModifier", "int"), ("QuantizationModifier", "float")):
        chosen = {name: group for name, group in made.items() if group["weights"]["type"] == kind}
        others = [m for name, group in made.items() if name not in chosen for m in group["targets"]]
        if chosen:
            steps[modifier] = {"config_groups": chosen, "ignore": [*plain, *others]}
    return json.dumps({"quantization_stage": {"quantization_modifiers": steps}}, indent=1)
