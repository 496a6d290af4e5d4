"""Quantized checkpoints: number formats, the schemes that make them, and which layers go together."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, NotRequired, TypeAlias, TypedDict

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

Settings: TypeAlias = Mapping[str, str | bool | int]
"""How numbers are quantized, in the words of compressed-tensors."""
Algorithm = Literal["rtn", "gptq", "awq", "smoothquant-gptq"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How the weights of a linear layer are stored and what its inputs are rounded to."""

    name: str
    label: str
    bits: float
    """Bits of one weight, without scales."""
    group_size: int | None
    """Neighbouring inputs that share a scale; None: one scale per output row."""
    scale_bits: float
    weights: Settings | None
    """``weights`` of a compressed-tensors scheme; None leaves the layer as it is."""
    inputs: Settings | None = None
    packing: str = ""
    """The ``format`` of a compressed-tensors configuration."""
    product_bits: int = 16
    """Width of the numbers that are multiplied, so which peak rate of a device holds."""

    def stored_bits(self, *, in_features: int) -> float:
        """Return the bits per weight of a layer with so many inputs, scales included."""
        return self.bits + self.scale_bits / (self.group_size or in_features)


def _format(
    name: str, label: str, packing: str, weights: Settings, *, scale_bits: float = 16, inputs: Settings | None = None
) -> Format:
    """Return a format whose bits and groups are those of its weights; rounded inputs are multiplied in as many bits as they have."""
    group = weights.get("group_size")
    return Format(
        name=name,
        label=label,
        packing=packing,
        weights=weights,
        bits=int(weights["num_bits"]),
        group_size=int(group) if group else None,
        scale_bits=scale_bits,
        inputs=inputs,
        product_bits=16 if inputs is None else int(inputs["num_bits"]),
    )


_INT4: Settings = {
    "type": "int",
    "symmetric": True,
    "dynamic": False,
    "num_bits": 4,
    "strategy": "group",
    "group_size": 128,
}
_INT8: Settings = {"type": "int", "symmetric": True, "dynamic": False, "num_bits": 8, "strategy": "channel"}
_FP4: Settings = {**_INT4, "type": "float", "strategy": "tensor_group", "group_size": 16}
_FP4_SCALES: Settings = {"scale_dtype": "torch.float8_e4m3fn", "zp_dtype": "torch.float8_e4m3fn"}
_MXFP4: Settings = {**_FP4, "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"}
_PER_TOKEN: Settings = {"num_bits": 8, "strategy": "token", "symmetric": True, "dynamic": True}
FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format(name="bf16", label="BF16", bits=16, group_size=None, scale_bits=0, weights=None),
        # Integers in groups of 128: vLLM 0.26.0 has kernels for 4 and 8 bits on an H200, 0.32.0 for 4 on a CPU.
        *(
            _format(f"w{n}a16", f"INT{n} weights, group 128", "pack-quantized", {**_INT4, "num_bits": n})
            for n in (3, 5, 6)
        ),
        _format("w8a16", "INT8 weights", "pack-quantized", _INT8),
        _format("w8a8", "INT8 weights and inputs", "int-quantized", _INT8, inputs={**_PER_TOKEN, "type": "int"}),
        _format(
            "fp8",
            "FP8 weights and inputs",
            "float-quantized",
            {**_INT8, "type": "float"},
            inputs={**_PER_TOKEN, "type": "float"},
        ),
        _format("w4a16", "INT4 weights, group 128", "pack-quantized", _INT4),
        _format(
            "w4a16-asym",
            "INT4 weights with zero points, group 128",
            "pack-quantized",
            {**_INT4, "symmetric": False},
            scale_bits=20,
        ),
        _format("nvfp4a16", "NVFP4 weights, group 16", "nvfp4-pack-quantized", {**_FP4, **_FP4_SCALES}, scale_bits=8),
        _format(
            "nvfp4",
            "NVFP4 weights and inputs, group 16",
            "nvfp4-pack-quantized",
            {**_FP4, **_FP4_SCALES},
            scale_bits=8,
            inputs={**_FP4, **_FP4_SCALES, "dynamic": "local"},
        ),
        # An exponent of 8 bits for 32 weights (OCP Microscaling Formats 1.0); gpt-oss stores its experts so. vLLM 0.32 multiplies
        # them with 16-bit inputs by default (fused_moe/oracle/mxfp4.py: BF16 variants come first).
        _format("mxfp4", "MXFP4 weights, group 32", "mxfp4-pack-quantized", _MXFP4, scale_bits=8),
        # What vLLM makes of the formats above where a device has no kernel of theirs (see ``kernels``).
        _format("fp8a16", "FP8 weights", "float-quantized", {**_INT8, "type": "float"}),
        Format(name="fp16", label="FP16", bits=16, group_size=None, scale_bits=0, weights=None),
    )
}
SERVED_ONLY = ("nvfp4", "mxfp4", "fp8a16", "fp16")
"""Formats that are planned, and neither made nor timed by the workbench."""
MAKEABLE: dict[str, Format] = {name: form for name, form in FORMATS.items() if name not in SERVED_ONLY}
"""Formats that a layer's weights can be rounded to here, and whose products are timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One way to make a checkpoint: an algorithm and the format of every linear layer but the output head."""

    name: str
    label: str
    algorithm: Algorithm
    format: str
    claim: str | None = None
    """Technique in ``data/claims.csv`` that claims something about it."""

    @property
    def needs_text(self) -> bool:
        """Whether making it needs calibration text, for its activations."""
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
FUSED = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv"),
    **dict.fromkeys(("gate_proj", "up_proj"), "gate_up"),
    **dict.fromkeys(("q_a_proj", "kv_a_proj_with_mqa"), "qkv_a"),
}
"""Layers that serving engines run as one product; they must share a format."""
EXPERT = re.compile(r"(?P<experts>(.*\.)?(?!shared)\w*experts)\.(?P<number>\d+)(\.|$)")
"""A matrix of one expert. Serving engines run all experts of a layer as one product, in one format."""


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
        """What it does in its layer: qkv, o_proj, gate_up, down_proj, experts."""
        return self.name.rsplit(".", 1)[-1]

    @property
    def targets(self) -> tuple[str, ...]:
        """Modules as a recipe names them; the experts of a layer are one pattern, since libraries name their matrices differently."""
        return (rf"re:{re.escape(self.name)}\.\d+\..*",) if self.role.endswith("experts") else self.modules


def layer_groups(modules: Iterable[str]) -> list[LayerGroup]:
    """Return the groups of linear layers in the order of the model; the output head is left out."""
    groups: dict[str, list[str]] = {}
    for module in modules:
        parent, dot, last = module.rpartition(".")
        if last == "lm_head":
            continue
        expert = EXPERT.match(module)
        groups.setdefault(expert["experts"] if expert else f"{parent}{dot}{FUSED.get(last, last)}", []).append(module)
    return [LayerGroup(name=name, modules=tuple(members)) for name, members in groups.items()]


def group_named(name: str) -> LayerGroup:
    """Return the group of a name made by ``layer_groups``."""
    parent, dot, last = name.rpartition(".")
    parts = [module for module, fused in FUSED.items() if fused == last] or [last]
    return LayerGroup(name=name, modules=tuple(f"{parent}{dot}{part}" for part in parts))


class ConfigGroup(TypedDict):
    """Modules of one format in a compressed-tensors configuration."""

    targets: list[str]
    weights: Settings
    format: str
    input_activations: NotRequired[Settings]


def config_groups(plan: Mapping[str, str], groups: Sequence[LayerGroup]) -> dict[str, ConfigGroup]:
    """Return the ``config_groups`` of a compressed-tensors recipe: for each used format the modules that have it.

    Raises:
        InvalidSpec: the plan names other groups than the model has.
    """
    by_format: dict[str, ConfigGroup] = {}
    for group, form in formats_of(plan, groups):
        if form.weights is None:
            continue
        new: ConfigGroup = {"targets": [], "weights": dict(form.weights), "format": form.packing}
        entry = by_format.setdefault(form.name, new)
        if form.inputs is not None:
            entry["input_activations"] = dict(form.inputs)
        entry["targets"] += group.targets
    return by_format


def formats_of(plan: Mapping[str, str], groups: Sequence[LayerGroup]) -> list[tuple[LayerGroup, Format]]:
    """Return each group with its format. A plan names groups, or roles ("qkv") for all layers at once.

    Raises:
        InvalidSpec: the plan names other groups than the model has.
    """
    if not plan:
        raise InvalidSpec(gettext("The plan names no layer group."), remedy=_known(groups))
    by_role = {role: form for role, form in plan.items() if "." not in role}
    names = {g.name for g in groups}
    unknown = sorted({*by_role} - {g.role for g in groups} - names) or sorted({*plan} - {*by_role} - names)
    if unknown:
        near = get_close_matches(
            unknown[0], [g.role for g in groups] if unknown[0] in by_role else names, n=1, cutoff=0.3
        )
        nearest = gettext("; the nearest is {name}").format(name=near[0]) if near else ""
        raise InvalidSpec(
            gettext("The plan is for another model: this one does not know {name}{nearest}.").format(
                name=unknown[0], nearest=nearest
            ),
            remedy=_known(groups),
        )
    if by_role:
        plan = {g.name: plan.get(g.name) or by_role.get(g.role, "bf16") for g in groups}
    missing = sorted(names - set(plan))
    if missing:
        raise InvalidSpec(
            gettext("The plan is for another model: this one has also {name}, which the plan leaves out.").format(
                name=missing[0]
            ),
            remedy=gettext('Add it, with the format "bf16" where it is to stay as it is. {known}').format(
                known=_known(groups)
            ),
        )
    return [(g, FORMATS[plan[g.name]]) for g in groups]


def _known(groups: Sequence[LayerGroup]) -> str:
    """Return the roles that a plan can name."""
    roles = ", ".join(dict.fromkeys(g.role for g in groups))
    return gettext("Name groups of this model, or these roles for all layers: {names}.").format(names=roles)


def quantization_config(groups: Mapping[str, ConfigGroup], *, kept: Sequence[str]) -> dict[str, object]:
    """Return what a checkpoint's ``config.json`` says about groups made by ``config_groups``; ``kept`` modules stay plain."""
    packings = {str(g["format"]) for g in groups.values()}
    return {
        "quant_method": "compressed-tensors",
        "format": packings.pop() if len(packings) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "config_groups": {f"group_{i}": dict(group) for i, group in enumerate(groups.values())},
        "ignore": list(kept),
    }


def recipe(plan: Mapping[str, str], groups: Sequence[LayerGroup], *, kept: Sequence[str] = ("lm_head",)) -> str:
    """Return the plan as a recipe that ``llmcompressor.oneshot(recipe=FILE)`` reads (JSON, which is YAML too).

    Integers are quantized by GPTQ, floats are rounded; modules that keep bfloat16 are ignored.

    Args:
        plan: Format of each group, or of each role.
        groups: All groups of the model.
        kept: Modules that no plan quantizes: the output head, routers.

    Raises:
        InvalidSpec: the plan names other groups than the model has, or quantizes none.
    """
    by_format = config_groups(plan, groups)
    if not by_format:
        raise InvalidSpec(
            gettext("The plan quantizes no layer."), remedy=gettext("Give a layer group another format than bf16.")
        )
    plain = [*kept, *(t for g, form in formats_of(plan, groups) if form.weights is None for t in g.targets)]
    steps: dict[str, object] = {}
    for modifier, kind in (("GPTQModifier", "int"), ("QuantizationModifier", "float")):
        chosen = {name: group for name, group in by_format.items() if group["weights"]["type"] == kind}
        others = [m for name, group in by_format.items() if name not in chosen for m in group["targets"]]
        if chosen:
            steps[modifier] = {"config_groups": chosen, "ignore": [*plain, *others]}
    return json.dumps({"quantization_stage": {"quantization_modifiers": steps}}, indent=1)


def short_format(name: str) -> str:
    """Return a format's name for a narrow cell: W4, W8A8, FP8."""
    return name.upper().removesuffix("A16")


KV = "kv:"
KV_FORMATS = ("int8-token", "int4-token", "fp8-token", "int8-head", "int4-head", "fp8-head")
"""Number format of keys and values, and what shares a scale: one token of one head, or a head over all tokens."""
