"""How a checkpoint stores its weights: the bytes and the nearest precision, by arithmetic from its quantization_config."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from workbench.catalog.config_file import quantization_method, quantization_of
from workbench.catalog.model_spec import StoredWeights
from workbench.core.errors import UnknownStorage
from workbench.core.language import gettext
from workbench.understanding.aliases import Fields
from workbench.understanding.construct import Constructed
from workbench.understanding.parameters import Linear, head_of
from workbench.understanding.storage import PLAIN_BYTES, Choice, checkpoint_names, unknown_storage
from workbench.understanding.stored_methods import METHODS, MXFP4, NVFP4

ROUTER = re.compile(r"(^|\.)(gate|router|wg|classifier|shared_expert_gate|weights_proj)(\.\w+)?$")
"""Small matrices that no method quantizes: they choose experts, or weigh the heads of an indexer."""


def stored_weights(fields: Fields, modules: Sequence[Linear], made: Constructed) -> StoredWeights | None:
    """Return how a checkpoint of this configuration stores its weights; None where it is not quantized.

    Raises:
        UnknownStorage: The bytes of the method, or of one of its settings, are not known.
    """
    config = quantization_of(fields)
    if config is None:
        return None
    method = quantization_method(config)
    if method not in METHODS:
        raise UnknownStorage(
            gettext("The weights are stored by the method {method}, whose bytes are not known.").format(
                method=repr(method)
            ),
            remedy=gettext(
                "Name a folder that has its *.safetensors, whose sizes are read, or remove `quantization_config` to have the model in 16 bits."
            ),
        )
    choice = METHODS[method](config, made)
    choice = _with_expert_type(choice, config, made) if method == "fp8" else choice
    total = PLAIN_BYTES * sum(p.numel() for p in {id(p): p for p in made.model.parameters()}.values())
    precisions: Counter[str | None] = Counter()
    head = head_of(made)
    heads = {name for name, module in made.model.named_modules() if module is head}
    is_tied = bool(getattr(made.config, "tie_word_embeddings", False))
    for m in modules:
        if ROUTER.search(m.name) or m.rows == 1 or (m.name in heads and (is_tied or not _holds_head(method, config))):
            continue
        storage = choice(m, list(checkpoint_names(m)))
        if storage is not None:
            pieces = 2 if m.n > 1 and "gate_up" in m.name and method != "mxfp4" else 1
            total += m.n * pieces * storage.n_bytes(m.rows // pieces, m.columns) - PLAIN_BYTES * m.n_weights
            precisions[storage.precision] += m.n_weights
    if not precisions:
        raise unknown_storage(method, gettext("settings that name no matrix of the model"))
    precision = precisions.most_common(1)[0][0]
    return StoredWeights(method=method, precision=precision, n_bytes=total)


def _with_expert_type(choice: Choice, config: Mapping[str, object], made: Constructed) -> Choice:
    """Return a choice for which routed experts have the type that a configuration names for them, as DeepSeek-V4 does."""
    kind = getattr(made.text, "expert_dtype", None)
    if kind in {None, "fp8"}:
        return choice
    if kind != "fp4":
        raise unknown_storage("FP8", f"`expert_dtype` {kind!r}")
    experts = NVFP4 if config.get("moe_quant_algo") == "NVFP4" else MXFP4
    return lambda m, names: experts if m.is_routed else choice(m, names)


def _holds_head(method: str, config: Mapping[str, object]) -> bool:
    """Return whether a method may quantize the output head."""
    return bool(config.get("lm_head")) or method in {"compressed-tensors", "modelopt", "quark"}
