"""Methods of quantization: from the settings of each to how it stores every matrix."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from workbench.core.language import gettext
from workbench.understanding.construct import Constructed
from workbench.understanding.parameters import LAYER, Linear, in_tower, linears
from workbench.understanding.storage import (
    FLOAT32_BYTES,
    Choice,
    Storage,
    ancestors,
    as_mapping,
    checkpoint_names,
    integer_format,
    is_named,
    module_names,
    unknown_storage,
    whole_number,
)


def _in_layers(storage: Storage, config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of methods that quantize what lies in the decoder layers, and no towers."""
    skipped = module_names(config, "modules_to_not_convert", "ignored_layers")

    def choice(m: Linear, names: Sequence[str]) -> Storage | None:
        is_inside = LAYER.search(m.name) is not None or bool(config.get("lm_head"))
        return None if not is_inside or in_tower(made, m.name) or is_named(names, skipped) else storage

    return choice


def _gptq(config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of GPTQ: packed weights, zero points always, a 16-bit scale, and the group of each input."""
    bits, group = whole_number(config, "bits"), whole_number(config, "group_size", default=128)
    storage = Storage(
        precision=integer_format(bits, is_symmetric=config.get("sym") is not False),
        bits=bits,
        block=(1, group if group > 0 else None),
        scale_bytes=2,
        zero_bits=bits,
        column_bytes=0 if "awq" in str(config.get("packing_format", "")) else 4,
    )
    choice, rules = _in_layers(storage, config, made), as_mapping(config.get("dynamic"))

    def by_rule(m: Linear, names: Sequence[str]) -> Storage | None:
        for pattern, changes in rules.items():
            if any(re.match(pattern.lstrip("+-:"), name) for name in names):
                if pattern.startswith("-"):
                    return None
                own_bits = whole_number(as_mapping(changes), "bits", default=bits)
                own_group = whole_number(as_mapping(changes), "group_size", default=group)
                name = integer_format(own_bits, is_symmetric=True)
                return replace(
                    storage,
                    bits=own_bits,
                    zero_bits=own_bits,
                    precision=name,
                    block=(1, own_group if own_group > 0 else None),
                )
        return choice(m, names)

    return by_rule


def _awq(config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of AWQ: packed weights and zero points, a 16-bit scale for each group."""
    bits, group = whole_number(config, "bits", "w_bit"), whole_number(config, "group_size", "q_group_size", default=128)
    return _in_layers(
        Storage(
            precision=integer_format(bits, is_symmetric=config.get("zero_point") is False),
            bits=bits,
            block=(1, group if group > 0 else None),
            scale_bytes=2,
            zero_bits=bits,
        ),
        config,
        made,
    )


def _auto_round(config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of AutoRound, which packs as GPTQ or AWQ do and keeps the modules that it names in 16 bits."""
    own = as_mapping(config.get("extra_config"))
    if any(as_mapping(v).get("bits", 4) not in {16, config.get("bits")} for v in own.values()):
        raise unknown_storage("AutoRound", gettext("several widths"))
    kept = [name for name, v in own.items() if whole_number(as_mapping(v), "bits", default=16) == 16]
    settings = {**config, "modules_to_not_convert": [*module_names(config, "modules_to_not_convert"), *kept]}
    return _gptq({**settings, "packing_format": "awq"}, made)  # neither of its forms keeps the group of each input


def _fp8(config: Mapping[str, object], _: Constructed) -> Choice:
    """Return the choice of FP8: a 32-bit scale for each block of weights, or one for each matrix and one for its inputs."""
    block = config.get("weight_block_size")
    if isinstance(block, list) and len(block) == 2 and all(isinstance(n, int) and n > 0 for n in block):
        storage = Storage(precision="fp8", bits=8, block=(block[0], block[1]), scale_bytes=FLOAT32_BYTES)
    elif block is None:
        n_inputs = FLOAT32_BYTES if config.get("activation_scheme") == "static" else 0
        storage = Storage(precision="fp8", bits=8, block=(None, None), scale_bytes=FLOAT32_BYTES, fixed_bytes=n_inputs)
    else:
        raise unknown_storage("FP8", f"`weight_block_size` {block!r:.60}")
    return _everywhere(storage, config)


def _fbgemm(config: Mapping[str, object], _: Constructed) -> Choice:
    """Return the choice of fbgemm: FP8 with a 32-bit scale for each row."""
    return _everywhere(Storage(precision="fp8", bits=8, block=(1, None), scale_bytes=FLOAT32_BYTES), config)


def _everywhere(storage: Storage, config: Mapping[str, object]) -> Choice:
    """Return the choice of methods that quantize all but what they name."""
    skipped = module_names(config, "modules_to_not_convert", "ignored_layers", "ignore", "llm_int8_skip_modules")
    return lambda _, names: None if is_named(names, skipped) else storage


def _mxfp4(config: Mapping[str, object], _: Constructed) -> Choice:
    """Return the choice of MXFP4: experts alone, an 8-bit scale for each 32 weights."""
    storage, skipped = MXFP4, module_names(config, "modules_to_not_convert")
    return lambda m, names: storage if m.is_routed and not is_named(names, skipped) else None


def _bitsandbytes(config: Mapping[str, object], _: Constructed) -> Choice:
    """Return the choice of bitsandbytes: 8 bits with a scale for each row, or 4 bits with one for each 64 weights."""
    if config.get("load_in_8bit") or config.get("_load_in_8bit"):
        return _everywhere(Storage(precision=None, bits=8, block=(1, None), scale_bytes=FLOAT32_BYTES), config)
    if not (config.get("load_in_4bit") or config.get("_load_in_4bit")):
        raise unknown_storage("bitsandbytes", gettext("neither `load_in_4bit` nor `load_in_8bit`"))
    # Double quantization: scales of 64 weights in 8 bits, and a 32-bit scale for each 256 of them.
    nested = bool(config.get("bnb_4bit_use_double_quant"))
    scale_bytes = 1 + FLOAT32_BYTES / 256 if nested else FLOAT32_BYTES
    return _everywhere(Storage(precision=None, bits=4, block=(1, 64), scale_bytes=scale_bytes), config)


MXFP4 = Storage(precision="mxfp4", bits=4, block=(1, 32), scale_bytes=1)
NVFP4 = Storage(precision="nvfp4", bits=4, block=(1, 16), scale_bytes=1, fixed_bytes=2 * FLOAT32_BYTES)
FP8_TENSOR = Storage(precision="fp8", bits=8, block=(None, None), scale_bytes=FLOAT32_BYTES, fixed_bytes=FLOAT32_BYTES)
MODELOPT: Mapping[str, Storage] = {
    "FP8": FP8_TENSOR,
    "NVFP4": NVFP4,
    "FP8_PER_CHANNEL_PER_TOKEN": Storage(precision="fp8", bits=8, block=(1, None), scale_bytes=FLOAT32_BYTES),
    "FP8_PB_WO": Storage(precision="fp8", bits=8, block=(128, 128), scale_bytes=FLOAT32_BYTES),
    "W4A16_NVFP4": replace(NVFP4, precision="nvfp4a16", fixed_bytes=FLOAT32_BYTES),
    "MXFP4": MXFP4,
    "MXFP8": Storage(precision="fp8", bits=8, block=(1, 32), scale_bytes=1),
}


def _modelopt(config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of NVIDIA's Model Optimizer."""
    config = {**config, **as_mapping(config.get("quantization"))}
    algorithm = str(config.get("quant_algo") or "").upper()
    skipped = module_names(config, "ignore", "exclude_modules")
    if algorithm == "MIXED_PRECISION":
        own = {name: as_mapping(v).get("quant_algo") for name, v in as_mapping(config.get("quantized_layers")).items()}
        if unknown := sorted({str(a) for a in own.values()} - set(MODELOPT)):
            raise unknown_storage("modelopt", f"`quant_algo` {unknown[0]!r}")
        # Experts of one layer are stored alike, so that the first stands for all.
        by_name = {re.sub(r"\.experts\.\d+\.", ".experts.0.", name): MODELOPT[str(a)] for name, a in own.items()}
        paths = {part for m in linears(made) for name in checkpoint_names(m) for part in ancestors(name)}
        if strange := sorted(name for name in set(by_name) - paths if not re.search("lm_head|mtp", name)):
            raise unknown_storage(
                "modelopt",
                gettext("{n} layers that the model does not have, such as {layer}").format(
                    n=len(strange), layer=repr(strange[0])
                ),
            )
        return lambda _, names: next((by_name[part] for n in names for part in ancestors(n) if part in by_name), None)
    if algorithm not in MODELOPT:
        raise unknown_storage("modelopt", f"`quant_algo` {algorithm!r}")
    return lambda _, names: None if is_named(names, skipped) else MODELOPT[algorithm]


def _compressed_tensors(config: Mapping[str, object], made: Constructed) -> Choice:
    """Return the choice of compressed-tensors: the first group that names a matrix, else the one for its class."""
    if str(as_mapping(config.get("sparsity_config")).get("format", "dense")) != "dense":
        raise unknown_storage("compressed-tensors", gettext("sparse weights"))
    groups = [g for g in as_mapping(config.get("config_groups")).values() if isinstance(g, Mapping)]
    kinds = {name: type(module).__name__ for name, module in made.model.named_modules()}
    choices = [
        (module_names(g, "targets"), _group(g, str(g.get("format") or config.get("format") or ""))) for g in groups
    ]
    ignored = module_names(config, "ignore")

    def choice(m: Linear, names: Sequence[str]) -> Storage | None:
        if is_named(names, ignored):
            return None
        by_name = (storage for targets, storage in choices if is_named(names, targets))
        by_kind = (storage for targets, storage in choices if {"Linear", kinds.get(m.name)} & set(targets))
        return next(by_name, next(by_kind, None))

    return choice


def _group(group: Mapping[str, object], form: str) -> Storage | None:
    """Return how a group of a compressed-tensors configuration is stored; None where its weights are not quantized."""
    weights, inputs = as_mapping(group.get("weights")), as_mapping(group.get("input_activations"))
    if not weights or form in {"dense", "frozen"}:
        return None
    if form not in PACKINGS:
        raise unknown_storage("compressed-tensors", f"`format` {form!r}")
    bits, strategy = whole_number(weights, "num_bits"), str(weights.get("strategy") or "tensor")
    size, shape = weights.get("group_size"), weights.get("block_structure")
    blocks: Mapping[str, tuple[int | None, int | None]] = {
        "tensor": (None, None),
        "channel": (1, None),
        "token": (1, None),
        "group": (1, size if isinstance(size, int) and size > 0 else None),
        "tensor_group": (1, size if isinstance(size, int) and size > 0 else 16),
        "block": (shape[0], shape[1]) if isinstance(shape, list) and len(shape) == 2 else (128, 128),
    }
    if strategy not in blocks:
        raise unknown_storage("compressed-tensors", f"`strategy` {strategy!r}")
    is_float, is_symmetric = weights.get("type") == "float", weights.get("symmetric") is not False
    is_packed = form == "pack-quantized"
    is_fp4 = is_float and bits == 4
    static_inputs = bool(inputs) and inputs.get("dynamic") is False
    n_global = (1 + bool(inputs)) if strategy == "tensor_group" else 0
    return Storage(
        precision=_precision(weights, bits, with_inputs=bool(inputs)),
        bits=bits if is_packed or is_fp4 or bits > 8 else 8,
        block=blocks[strategy],
        scale_bytes=1 if is_fp4 or "uint8" in str(weights.get("scale_dtype")) or "mx" in form else 2,
        zero_bits=0 if is_symmetric else (bits if is_packed else 8),
        fixed_bytes=FLOAT32_BYTES * n_global + (16 if is_packed else 0) + (2 if static_inputs and not n_global else 0),
        column_bytes=4 if weights.get("actorder") == "group" else 0,
    )


PACKINGS = frozenset(
    {
        *("pack-quantized", "int-quantized", "float-quantized", "naive-quantized"),
        *("nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"),
    }
)
"""Forms of compressed-tensors whose tensors are known; sparse ones are not among them."""


def _precision(weights: Mapping[str, object], bits: int, *, with_inputs: bool) -> str | None:
    """Return the format that weights of a compressed-tensors group are like; None where none is."""
    if weights.get("type") == "float":
        four = "mxfp4" if weights.get("group_size") == 32 else "nvfp4" if with_inputs else "nvfp4a16"
        return {4: four, 8: "fp8"}.get(bits)
    if with_inputs:
        return "w8a8" if bits == 8 else None
    return integer_format(bits, is_symmetric=weights.get("symmetric") is not False)


def _quark(config: Mapping[str, object], _: Constructed) -> Choice:
    """Return the choice of AMD's Quark: FP8 for each matrix or row, and MXFP4."""
    if as_mapping(config.get("layer_quant_config")) or as_mapping(config.get("layer_type_quant_config")):
        raise unknown_storage("quark", gettext("settings for single layers"))
    own = as_mapping(as_mapping(config.get("global_quant_config")).get("weight"))
    kind, scheme = str(own.get("dtype")), str(own.get("qscheme"))
    per_row = Storage(precision="fp8", bits=8, block=(1, None), scale_bytes=FLOAT32_BYTES)
    known = {
        ("fp8_e4m3", "per_tensor"): FP8_TENSOR,
        ("fp8_e4m3", "per_channel"): per_row,
        ("fp4", "per_group"): MXFP4 if own.get("group_size") == 32 else None,
    }
    if (storage := known.get((kind, scheme))) is None:
        raise unknown_storage("quark", f"{kind} {scheme}")
    skipped = module_names(config, "exclude")
    return lambda _, names: None if is_named(names, skipped) else storage


METHODS: Mapping[str, Callable[[Mapping[str, object], Constructed], Choice]] = {
    "gptq": _gptq,
    "gptq_marlin": _gptq,
    "awq": _awq,
    "auto-round": _auto_round,
    "intel/auto-round": _auto_round,
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm,
    "compressed-tensors": _compressed_tensors,
    "mxfp4": _mxfp4,
    "modelopt": _modelopt,
    "modelopt_fp4": _modelopt,
    "bitsandbytes": _bitsandbytes,
    "quark": _quark,
}
"""Methods whose bytes are known."""
