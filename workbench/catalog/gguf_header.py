"""The header of a GGUF file: its settings and its tensors, without their data."""

import mmap
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

from workbench.core.errors import NotAModel, system_reason
from workbench.core.language import gettext

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
DEFAULT_ALIGNMENT = 32
MOST_ENTRIES = 2**20
"""No model has more tensors or settings; a larger number is a damaged file."""
TYPES: dict[int, tuple[str, int, int]] = {
    number: (name, weights, n_bytes)
    for number, name, weights, n_bytes in (
        (0, "F32", 1, 4), (1, "F16", 1, 2), (2, "Q4_0", 32, 18), (3, "Q4_1", 32, 20), (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24), (8, "Q8_0", 32, 34), (9, "Q8_1", 32, 40), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144), (13, "Q5_K", 256, 176), (14, "Q6_K", 256, 210), (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56), (30, "BF16", 1, 2), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17), (40, "NVFP4", 64, 36), (41, "Q1_0", 128, 18),
    )
}  # fmt: skip
"""Name, weights of a block and bytes of a block by number; from ggml's table of types, tested against the gguf package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """A tensor of a GGUF file."""

    shape: tuple[int, ...]
    """Columns first."""
    type: str
    n_bytes: int

    @property
    def n(self) -> int:
        """Return the number of its elements."""
        n = 1
        for size in self.shape:
            n *= size
        return n


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Settings by their key, and tensors by name; of a split model those of all its files."""

    settings: dict[str, object] = field(default_factory=dict)
    tensors: dict[str, GgufTensor] = field(default_factory=dict)


def gguf_header(file: Path) -> GgufHeader:
    """Return the header of a model; a part of a split model stands for all its parts.

    Raises:
        NotAModel: The file cannot be read, is no GGUF file, ends too early, or a part of it is missing.
    """
    header = _header(file)
    n_parts = header.settings.get("split.count")
    if not isinstance(n_parts, int) or n_parts <= 1:
        return header
    match = re.fullmatch(r"(.*)-\d{5}-of-\d{5}\.gguf", file.name)
    if match is None:
        raise NotAModel(
            gettext("{file} is one of {n} files of a model, and its name does not say which.").format(
                file=file, n=n_parts
            ),
            remedy=gettext("Give the files the names that llama-gguf-split wrote: NAME-00001-of-00002.gguf."),
        )
    settings: dict[str, object] = {}
    tensors: dict[str, GgufTensor] = {}
    for i in range(1, n_parts + 1):
        part = file.with_name(f"{match[1]}-{i:05d}-of-{n_parts:05d}.gguf")
        if not part.is_file():
            raise NotAModel(
                gettext("{file} is missing, one of {n} files of the model.").format(file=part.name, n=n_parts),
                remedy=gettext("Fetch it too."),
            )
        own = _header(part)
        settings = {**own.settings, **settings}
        tensors.update(own.tensors)
    return GgufHeader(settings=settings, tensors=tensors)


def _header(file: Path) -> GgufHeader:
    try:
        with file.open("rb") as stream:
            size = file.stat().st_size
            if stream.read(4) != MAGIC:
                raise NotAModel(
                    gettext("{file} is no GGUF file: it does not begin with GGUF.").format(file=file),
                    remedy=gettext("Name a GGUF file."),
                )
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Reader(content, size).header()
    except OSError as error:
        raise NotAModel(
            gettext("{file} cannot be read: {reason}.").format(file=file, reason=system_reason(error)),
            remedy=gettext("Name a GGUF file."),
        ) from error
    except (struct.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise NotAModel(
            gettext("{file} ends within its header, or is damaged.").format(file=file),
            remedy=gettext("Fetch it again."),
        ) from error
    except _Damaged as error:
        raise NotAModel(
            gettext("{file} is damaged: {error}.").format(file=file, error=error), remedy=gettext("Fetch it again.")
        ) from error


class _Damaged(Exception):
    """What is wrong with a file."""


class _Reader:
    """Reads the header of one file from its start."""

    def __init__(self, content: mmap.mmap, size: int) -> None:
        self._content, self._size, self._at = content, size, 4

    def header(self) -> GgufHeader:
        """Return the settings and tensors of the file."""
        version = self._scalar("I")
        if version not in VERSIONS:
            raise _Damaged(
                gettext("it has version {version} of GGUF, and {first} and {second} are known").format(
                    version=version, first=VERSIONS[0], second=VERSIONS[1]
                )
            )
        n_tensors, n_settings = self._scalar("Q"), self._scalar("Q")
        if max(n_tensors, n_settings) > MOST_ENTRIES:
            raise _Damaged(
                gettext("it names {n_tensors} tensors and {n_settings} settings").format(
                    n_tensors=n_tensors, n_settings=n_settings
                )
            )
        settings: dict[str, object] = {}
        for _ in range(n_settings):
            key = self._string()
            settings[key] = self._value(self._scalar("I"))
        raw = [self._tensor() for _ in range(n_tensors)]
        alignment = settings.get("general.alignment", DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise _Damaged(gettext("its alignment is {alignment}").format(alignment=repr(alignment)))
        start = -(-self._at // alignment) * alignment
        ends = [start + offset + tensor.n_bytes for _, tensor, offset in raw]
        if ends and max(ends) > self._size:
            raise _Damaged(
                gettext("it has {size} bytes, and its tensors end at {end}").format(
                    size=f"{self._size:,}", end=f"{max(ends):,}"
                )
            )
        return GgufHeader(settings=settings, tensors={name: tensor for name, tensor, _ in raw})

    def _scalar(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self._content, self._at)
        self._at += struct.calcsize("<" + code)
        return value  # type: ignore[no-any-return]

    def _string(self) -> str:
        n = self._scalar("Q")
        if n > self._size - self._at:
            raise IndexError
        text = self._content[self._at : self._at + n].decode("utf-8")
        self._at += n
        return text

    def _value(self, kind: int) -> object:
        if kind in SCALARS:
            return self._scalar(SCALARS[kind])
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            raise _Damaged(gettext("it has a setting of type {kind}, which GGUF does not have").format(kind=kind))
        kind, n = self._scalar("I"), self._scalar("Q")
        if n > self._size - self._at:
            raise IndexError
        if kind in SCALARS:
            values = struct.unpack_from(f"<{n}{SCALARS[kind]}", self._content, self._at)
            self._at += struct.calcsize(f"<{n}{SCALARS[kind]}")
            return list(values)
        if kind == STRING:  # the words of a tokenizer, which nothing reads here
            for _ in range(n):
                n_bytes = self._scalar("Q")
                self._at += n_bytes
            return n
        raise _Damaged(gettext("it has a list of lists"))

    def _tensor(self) -> tuple[str, GgufTensor, int]:
        name, n_dims = self._string(), self._scalar("I")
        if n_dims > 8:
            raise _Damaged(gettext("the tensor {name} has {n} dimensions").format(name=repr(name[:80]), n=n_dims))
        shape = tuple(self._scalar("Q") for _ in range(n_dims))
        kind, offset = self._scalar("I"), self._scalar("Q")
        if kind not in TYPES:
            raise _Damaged(
                gettext("the tensor {name} has type {kind}, which is not known").format(name=repr(name[:80]), kind=kind)
            )
        type_name, block, n_bytes = TYPES[kind]
        whole = GgufTensor(shape=shape, type=type_name, n_bytes=0)
        return name, GgufTensor(shape=shape, type=type_name, n_bytes=whole.n // block * n_bytes), offset
