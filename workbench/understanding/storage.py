"""How one matrix of a checkpoint is stored, and how the settings of a quantization name matrices."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from workbench.core.errors import UnknownStorage
from workbench.core.language import gettext
from workbench.understanding.parameters import Linear

PLAIN_BYTES = 2
FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How one matrix is stored: packed weights, and a scale for each block of them."""

    precision: str | None
    """The name in ``FORMATS``; None where no format is like it."""
    bits: float
    block: tuple[int | None, int | None]
    """Rows and columns that share a scale; None: all."""
    scale_bytes: float
    zero_bits: int = 0
    """Bits of the zero point of each block."""
    fixed_bytes: int = 0
    """Scales of the whole matrix and of its inputs."""
    column_bytes: int = 0
    """Bytes for each input, such as the group that it belongs to."""

    def n_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of a matrix of (rows, columns) with its scales and zero points."""
        blocks = math.prod(math.ceil(n / (size or n)) for n, size in zip((rows, columns), self.block, strict=True))
        scales = blocks * (self.scale_bytes + self.zero_bits / 8)
        return math.ceil(rows * columns * self.bits / 8 + scales) + self.fixed_bytes + self.column_bytes * columns


Choice = Callable[[Linear, Sequence[str]], Storage | None]
"""How a matrix of some names is stored; None where it stays as it is."""


def is_named(names: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether one of some names is what a pattern means: ``re:`` and a regular expression, a ``*``, or parts of the path."""
    names = list(names)
    for pattern in patterns:
        if pattern.startswith("re:"):
            if any(re.match(pattern[3:], name) for name in names):
                return True
        elif "*" in pattern:
            glob = re.compile(re.escape(pattern.rstrip(".*")).replace(r"\*", ".*") + r"(\..*)?$")
            if any(glob.match(name) for name in names) or any(f".{pattern.strip('.*')}." in f".{n}." for n in names):
                return True
        elif any(f".{pattern.strip('.')}." in f".{name}." for name in names):
            return True
    return False


def module_names(config: Mapping[str, object], *keys: str) -> list[str]:
    """Return the module names of all these keys."""
    return [str(name) for key in keys if isinstance(each := config.get(key), list) for name in each]


def whole_number(config: Mapping[str, object], *keys: str, default: int | None = None) -> int:
    """Return the first of some settings, a whole number; raises ``UnknownStorage`` where it is something else."""
    value = next((config[key] for key in keys if config.get(key) is not None), default)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise UnknownStorage(
        gettext("`quantization_config.{key}` is {value}, where it is a whole number.").format(
            key=keys[0], value=f"{value!r:.80}"
        ),
        remedy=gettext("Correct its config.json."),
    )


def as_mapping(value: object) -> Mapping[str, object]:
    """Return a setting that is an object; an empty one where it is something else."""
    return value if isinstance(value, Mapping) else {}


def unknown_storage(method: str, what: str) -> UnknownStorage:
    """Return the error that the bytes of a method with a certain setting are not known."""
    return UnknownStorage(
        gettext("The weights are stored by {method} with {what}, whose bytes are not known.").format(
            method=method, what=what
        ),
        remedy=gettext("Name a folder that has its *.safetensors, whose sizes are read."),
    )


def integer_format(bits: int, *, is_symmetric: bool) -> str | None:
    """Return the format of integer weights in groups, inputs in 16 bits."""
    return f"w{bits}a16" + ("" if is_symmetric or bits != 4 else "-asym") if bits in {3, 4, 5, 6, 8} else None


def ancestors(name: str) -> Iterator[str]:
    """Yield a path and all that it lies in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def checkpoint_names(m: Linear) -> Iterator[str]:
    """Yield the names that a checkpoint may have for a matrix: those of single experts, and those of older classes."""
    own = [m.name]
    if m.n > 1:
        parent, _, key = m.name.rpartition(".")
        own += [f"{parent}.0.{each}" for each in _expert_names(key)]
        own += [name.replace(".mlp.", ".block_sparse_moe.") for name in own]
    for name in own:
        yield name
        yield re.sub(r"^model\.", "backbone.", name)
        if "language_model." in name:
            yield name.replace("model.language_model.", "language_model.model.")
            yield name.replace("language_model.", "")
        yield f"language_model.{name}"
        yield name.removeprefix("model.")


def _expert_names(key: str) -> tuple[str, ...]:
    if "down" in key or "w2" in key or "output" in key:
        return ("down_proj", "w2")
    return ("gate_proj", "up_proj", "w1", "w3") if "gate_up" in key else ("up_proj", "w1")
