"""A model of transformers without memory, from the fields of a config.json; fields that nothing reads are named or refused."""

import contextlib
import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import transformers
from transformers.initialization import no_init_weights
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from workbench.catalog.config_file import without_quantization
from workbench.catalog.model_spec import ModelKind
from workbench.core.errors import NotAModel
from workbench.core.language import gettext
from workbench.understanding.aliases import ALIASES, Fields

LEFT_OUT = frozenset({"auto_map", "model_type", "dtype", "torch_dtype", "_name_or_path"})
SIZES = re.compile(
    r"experts?|moe|layer|hidden|heads?|intermediate|ffn|rank|dim|width|window|state_size|kernel|groups|top_?k"
)
HARMLESS = re.compile(
    r"nextn|mtp|draft|eagle|medusa|id2label|label2id|quant|dropout|init|loss|coef|token|rope|max_window|time_step"
)
"""Fields of these names change neither counts nor the cache: parts that are not served, training, labels."""
MOST_NAMED = 6
EXPERTS = re.compile(r"^(?!.*(per_|_per|shared|share|active|topk|top_k|k_|group|dense|zero|null)).*experts?$")
"""Fields that say how many experts a layer has."""

LANGUAGE_PART = re.compile(r"(^|\.)language_model$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constructed:
    """A model on the meta device."""

    model: torch.nn.Module
    config: transformers.PreTrainedConfig
    text: transformers.PreTrainedConfig
    """The part of the configuration that is about the language model."""
    kind: ModelKind
    notes: tuple[str, ...]
    has_towers: bool
    """Whether it takes more than text, so that some of its parts are towers for images or sound."""
    names_its_language_part: bool
    """Whether a module is named as the language model, so that all other parts but the head are towers."""


def construct(fields: Fields, *, device: str = "meta") -> Constructed:
    """Return the model of a configuration, its tensors on a device; none of them has memory on the meta device.

    Raises:
        NotAModel: transformers does not know the type, refuses a value, or reads none of the fields that set a size.
    """
    own = copy.deepcopy({key: value for key, value in without_quantization(fields).items() if key not in LEFT_OUT})
    model_type = str(fields.get("model_type") or "")
    notes: tuple[str, ...] = ()
    if model_type in ALIASES:
        alias, (model_type, as_read) = model_type, ALIASES[model_type]
        own, notes = (
            as_read(own),
            (f"The code of {alias!r} is not run: its layers are counted as those of {model_type!r}.",),
        )
    if model_type not in CONFIG_MAPPING:
        raise NotAModel(
            gettext("The model type {model_type} is not known to transformers {version}.").format(
                model_type=repr(model_type), version=transformers.__version__
            ),
            remedy=gettext(
                "Only what transformers has code for can be counted, and code from beside the weights is never run. Add the model's numbers with `workbench models add`."
            ),
        )
    config_class = CONFIG_MAPPING[model_type]
    unread = sorted(_unread(own, config_class))
    try:
        config = config_class.from_dict(own)
        text = config.get_text_config(decoder=True)
        notes += _check_unread(own, unread, config_class.from_dict(_without(own, unread))) if unread else ()
        _check_experts_are_read(own, text)
        for part in _parts(config):
            part.dtype = torch.bfloat16
            padding, vocabulary = getattr(part, "pad_token_id", None), getattr(part, "vocab_size", None)
            if isinstance(padding, int) and isinstance(vocabulary, int) and padding >= vocabulary:
                part.pad_token_id = None  # the default of a class, for a larger vocabulary
            part.__dict__["allow_global_per_layer_attribute_access"] = True
        name, kind = _class_of(config, fields.get("architectures"))
        without_values = no_init_weights() if device == "meta" else contextlib.nullcontext()
        with torch.device(device), without_values:
            model = getattr(transformers, name)._from_config(config)
        model.tie_weights()
        _drop_unused_experts(model)
    except NotAModel:
        raise
    except ImportError as error:
        reason = " ".join(str(error).split())[:200]
        raise NotAModel(
            gettext("The class of {model_type} needs a package that is not installed: {reason}").format(
                model_type=repr(model_type), reason=reason
            ),
            remedy=gettext("Install it, then ask again."),
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise NotAModel(
            gettext("transformers refuses this configuration of {model_type}: {kind}: {reason}").format(
                model_type=repr(model_type), kind=type(error).__name__, reason=reason
            ),
            remedy=gettext("Correct or complete its config.json."),
        ) from error
    return Constructed(
        model=model.eval(),
        config=config,
        text=text,
        kind=kind,
        notes=notes,
        has_towers=kind != "encoder" and _takes_more_than_text(config),
        names_its_language_part=any(LANGUAGE_PART.search(name) for name, _ in model.named_modules()),
    )


def _drop_unused_experts(model: torch.nn.Module) -> None:
    """Drop the weights that LongCat's class makes for experts that give back their input: no checkpoint has them."""
    for module in model.modules():
        first, second = getattr(module, "gate_up_proj", None), getattr(module, "down_proj", None)
        if (
            isinstance(first, torch.nn.Parameter)
            and isinstance(second, torch.nn.Parameter)
            and len(first) > len(second)
        ):
            module.gate_up_proj = torch.nn.Parameter(torch.empty_like(first[: len(second)]))


def _parts(config: transformers.PreTrainedConfig) -> Iterator[transformers.PreTrainedConfig]:
    """Yield a configuration and all that it holds."""
    yield config
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if isinstance(part, transformers.PreTrainedConfig):
            yield from _parts(part)


def _class_of(config: transformers.PreTrainedConfig, architectures: object) -> tuple[str, ModelKind]:
    """Return the name of the class to build, the one that the file names where transformers has it for this type, and its kind."""
    tables: tuple[tuple[ModelKind, Mapping[str, str | tuple[str, ...]]], ...] = (
        ("vision-language", modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
        ("vision-language", modeling_auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES),
        ("encoder-decoder", modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        ("encoder-decoder", modeling_auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
        ("decoder", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("encoder", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        ("encoder", modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
        ("encoder", modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
        ("encoder", modeling_auto.MODEL_MAPPING_NAMES),
    )
    known: dict[str, ModelKind] = {}
    for kind, table in tables:
        names = table.get(config.model_type, ())
        for name in (names,) if isinstance(names, str) else names:
            known.setdefault(name, kind)
    if not known:
        raise NotAModel(
            gettext("{model_type} is a part of a model in transformers, not one that can be run.").format(
                model_type=repr(config.model_type)
            ),
            remedy=gettext("Name the configuration of the whole model."),
        )
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    also_reads_both_ways = "encoder" in known.values() and not getattr(config, "is_decoder", False)
    only = (
        [name for name, kind in known.items() if kind != "decoder"]
        if also_reads_both_ways and _is_masked(known)
        else list(known)
    )
    name = named if named in known else (only or list(known))[0]
    kind = known[name]
    if kind == "vision-language" and not _takes_more_than_text(config):
        kind = "decoder"
    if config.is_encoder_decoder:
        kind = "encoder-decoder"
    return name, kind


def _is_masked(known: Mapping[str, ModelKind]) -> bool:
    return any(name.endswith("ForMaskedLM") for name in known)


def _takes_more_than_text(config: transformers.PreTrainedConfig) -> bool:
    return any(re.search("vision|audio|image|speech|video", name) for name in (*config.sub_configs, *vars(config)))


@cache
def _words(config_class: type) -> frozenset[str]:
    """Return the words of the code that reads a class of configurations: its own and that of its models."""
    names = set(transformers.GenerationConfig._get_default_generation_params())
    files = {
        Path(inspect.getfile(each)) for each in config_class.__mro__ if issubclass(each, transformers.PreTrainedConfig)
    }
    own = Path(inspect.getfile(config_class)).parent
    for file in (*files, *own.glob("modeling_*.py")):
        names |= set(re.findall(r"\w+", file.read_text(encoding="utf-8")))
    return frozenset(names)


def _unread(fields: Fields, config_class: type, path: str = "") -> Iterator[str]:
    """Yield the keys of a configuration that its class does not read, with their path."""
    known = _words(config_class)
    for key, value in fields.items():
        part = getattr(config_class, "sub_configs", {}).get(key)
        if part is not None and isinstance(value, dict):
            part = CONFIG_MAPPING[value["model_type"]] if value.get("model_type") in CONFIG_MAPPING else part
            if part is not transformers.AutoConfig:
                yield from _unread(value, part, f"{path}{key}.")
        elif key not in known and not key.startswith("_"):
            yield path + key


def _without(fields: Fields, paths: list[str]) -> dict[str, object]:
    """Return the fields without those at some paths, in copies of the parts that hold them."""
    left: dict[str, object] = {}
    for key, value in fields.items():
        if key in paths:
            continue
        inside = [p.removeprefix(f"{key}.") for p in paths if p.startswith(f"{key}.")]
        left[key] = _without(value, inside) if inside and isinstance(value, dict) else value
    return left


def _at(tree: object, path: str) -> object:
    """Return what lies at a path of attributes or keys; None where nothing does."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else getattr(tree, name, None)
    return tree


def _check_unread(fields: Fields, unread: list[str], config: transformers.PreTrainedConfig) -> tuple[str, ...]:
    """Return a note of the fields that are left out; raises ``NotAModel`` where one of them may set a size.

    A field is harmless where the configuration has the same value by itself, or where it repeats another size.
    """
    text = config.get_text_config(decoder=True)
    sizes = {value for part in (config, text) for value in vars(part).values() if isinstance(value, int)}
    refused = []
    for path in unread:
        value, name = _at(fields, path), path.rsplit(".", 1)[-1]
        values = value if isinstance(value, list) else [value]
        numbers = {v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 1}
        is_size = bool(numbers) and SIZES.search(name) is not None and HARMLESS.search(name) is None
        if is_size and _at(config, path) != value and not numbers <= sizes and "vision" not in path:
            refused.append(path)
    if refused:
        raise NotAModel(
            gettext("transformers does not read these fields of {model_type}, which may set its size: {names}.").format(
                model_type=repr(config.model_type), names=", ".join(refused)
            ),
            remedy=gettext(
                "Correct their names, remove them if they mean nothing, or add the model's numbers with `workbench models add`."
            ),
        )
    named = [path for path in unread if HARMLESS.search(path.rsplit(".", 1)[-1]) is None]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return (f"transformers does not read {', '.join(named[:MOST_NAMED])}{more} of this file.",) if named else ()


def _check_experts_are_read(fields: Fields, text: transformers.PreTrainedConfig) -> None:
    """Raise ``NotAModel`` where a file names experts and their use is switched off by a field that it does not have."""
    inside = fields.get(next((k for k in ("text_config", "llm_config", "thinker_config") if k in fields), ""), fields)
    named = {
        k: v
        for k, v in (inside if isinstance(inside, dict) else fields).items()
        if EXPERTS.search(k) and isinstance(v, int) and v > 1
    }
    switch = getattr(text, "enable_moe_block", True)
    if named and not switch:
        raise NotAModel(
            gettext(
                "The file names experts ({names}), but not `enable_moe_block`, without which {model_type} builds none."
            ).format(names=", ".join(named), model_type=repr(text.model_type)),
            remedy=gettext("Add `enable_moe_block: true`, or remove the experts."),
        )
