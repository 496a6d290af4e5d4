"""A config.json as it lies on disk: read once, and refused with one clear reason where it is none."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from workbench.core.errors import NotAModel, system_message, system_reason
from workbench.core.language import gettext, gettext_noop

MOST_BYTES = 16 * 2**20
LARGEST = 10**7
"""No size of a model that exists is larger; ten times its largest vocabulary."""
MOST_LAYERS = 10_000
SIZES = frozenset(
    {
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"),
        *("num_key_value_heads", "head_dim", "moe_intermediate_size", "num_experts_per_tok", "max_position_embeddings"),
        *("n_embd", "n_layer", "n_head", "n_positions", "d_model", "d_ff", "num_layers", "n_inner", "kv_lora_rank"),
    }
)
"""Fields that are whole numbers above zero, or lists of them with one for each layer."""
MAY_BE_NULL = frozenset(
    {"head_dim", "num_key_value_heads", "n_inner", "moe_intermediate_size", "intermediate_size", "kv_lora_rank"}
)
PLACES = ("text_config", "llm_config", "language_config", "thinker_config")
"""Parts of a configuration that may hold the quantization of the language model."""
QUANTIZATION = ("quantization_config", "compression_config")
NUMBER_FORMAT = re.compile(r"(torch\.)?(auto|half|float|double|bfloat16|u?int\d+|float(16|32|64|8_\w+))")
REMEDY = gettext_noop("Name the folder or the config.json of a transformers model.")


def read_config(file: Path) -> dict[str, object]:
    """Return the fields of a config.json.

    Raises:
        NotAModel: It cannot be read, is no JSON object in UTF-8, names no type, or has sizes that are none.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise NotAModel(
                gettext("{file} has more than {n} MiB, which no model configuration has.").format(
                    file=file, n=MOST_BYTES >> 20
                ),
                remedy=gettext(REMEDY),
            )
        content = file.read_bytes()
    except OSError as error:
        raise NotAModel(
            gettext("{file} cannot be read: {reason}.").format(file=file, reason=system_reason(error)),
            remedy=gettext(REMEDY),
        ) from error
    return parsed_config(content, name=str(file))


def parsed_config(content: bytes, *, name: str) -> dict[str, object]:
    """Return the fields of a configuration from its bytes; see ``read_config``."""
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise NotAModel(
            gettext("{name} begins with a byte order mark, with which no engine reads it.").format(name=name),
            remedy=gettext("Save it as UTF-8 without one."),
        )
    try:
        fields = json.loads(content.decode("utf-8"), object_hook=_with_floats)
    except RecursionError as error:
        raise NotAModel(
            gettext("{name} nests brackets deeper than any configuration does.").format(name=name),
            remedy=gettext(REMEDY),
        ) from error
    except ValueError as error:
        raise NotAModel(
            gettext("{name} is not a model configuration: {error}.").format(name=name, error=system_message(error)),
            remedy=gettext(REMEDY),
        ) from error
    if not isinstance(fields, dict):
        raise NotAModel(
            gettext("{name} holds {kind}, where a configuration is a JSON object.").format(
                name=name, kind=_kind(fields)
            ),
            remedy=gettext(REMEDY),
        )
    for problem in _problems(fields):
        raise NotAModel(
            gettext("{name} cannot be counted: {problem}.").format(name=name, problem=problem),
            remedy=gettext("Correct its config.json."),
        )
    return fields


def _with_floats(part: dict[str, object]) -> object:
    """Return a part of a JSON text, or the float that JSON lacks, which transformers 5 writes as ``{"__float__": "Infinity"}``."""
    tag = part.get("__float__")
    return float(str(tag)) if len(part) == 1 and tag in ("Infinity", "-Infinity", "NaN") else part


def quantization_of(fields: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return what a configuration says of the quantization of its weights; None where they are not quantized.

    MLX writes ``quantization`` instead, and no method.
    """
    packed = fields.get("quantization")
    if isinstance(packed, Mapping) and "bits" in packed:
        return {"quant_method": "mlx", **packed}
    for place in (fields, *(fields.get(name) for name in PLACES)):
        if isinstance(place, Mapping):
            for key in QUANTIZATION:
                if isinstance(config := place.get(key), Mapping) and config:
                    return config
    return None


def without_quantization(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a configuration as if its weights were in 16 bits."""
    return {
        key: without_quantization(value) if key in PLACES and isinstance(value, Mapping) else value
        for key, value in fields.items()
        if key not in (*QUANTIZATION, "quantization")
    }


def quantization_method(config: Mapping[str, object]) -> str:
    """Return the name of the method of a quantization, in small letters; empty where there is none."""
    by_algorithm = "modelopt" if "quant_algo" in config or "quantization" in config else ""
    return str(config.get("quant_method") or by_algorithm).lower()


def _kind(value: object) -> str:
    names = {
        list: gettext("a list"),
        str: gettext("text"),
        int: gettext("a number"),
        float: gettext("a number"),
        bool: gettext("a truth value"),
    }
    return names.get(type(value), gettext("nothing"))


def _problems(fields: Mapping[str, object], path: str = "") -> Iterator[str]:
    """Yield what is wrong with the fields of a configuration and of its parts."""
    if not path and not isinstance(fields.get("model_type"), str):
        yield gettext("it has no `model_type`, so nothing says which class it is for")
    for key, value in fields.items():
        place = f"{path}{key}"
        if key.endswith("text_config") and not isinstance(value, Mapping):
            yield gettext("`{place}` is {value}, where it is the configuration of the language model").format(
                place=place, value=_kind(value)
            )
        elif key in {"dtype", "torch_dtype"} and isinstance(value, str) and not NUMBER_FORMAT.fullmatch(value):
            yield gettext("`{place}` is {value}, where it is a number format of torch").format(
                place=place, value=f"{value!r:.80}"
            )
        elif key in QUANTIZATION:
            if value is not None and not isinstance(value, Mapping):
                yield gettext("`{place}` is {value}, where it says how the weights are stored").format(
                    place=place, value=_kind(value)
                )
        elif isinstance(value, Mapping) and key.endswith("_config"):
            yield from _problems(value, f"{place}.")
        elif key in SIZES and not (value is None and key in MAY_BE_NULL):
            yield from _problems_of_size(place, value, most=MOST_LAYERS if "layer" in key else LARGEST * 10)


def _problems_of_size(place: str, value: object, *, most: int) -> Iterator[str]:
    values = value if isinstance(value, list) and value else [value]
    numbers = [v for v in values if isinstance(v, int) and not isinstance(v, bool)]
    if len(numbers) < len(values):
        yield gettext("`{place}` is {value}, where it is a whole number").format(place=place, value=f"{value!r:.80}")
    elif not all(0 < v <= most for v in numbers):
        yield gettext("`{place}` is {value}, where it is a whole number from 1 to {most}").format(
            place=place, value=f"{value!r:.80}", most=most
        )
