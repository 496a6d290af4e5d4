"""What the files of a checkpoint hold: tensors by name, from the headers of *.safetensors alone."""

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import NotAModel, first_line, system_reason
from workbench.core.language import gettext, gettext_noop

INDEX = "model.safetensors.index.json"
MOST_HEADER_BYTES = 100 * 2**20
"""Largest header that the safetensors library reads."""
REMEDY = gettext_noop("Fetch the file again.")
LFS_POINTER = b"version "
"""How the text begins that Git LFS leaves in the place of a file; as a header's length it would be exabytes."""
BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "U16": 16,
        "U32": 32, "U64": 64, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # fmt: skip
BUFFERS = re.compile(
    r"(inv_freq|masked_bias|attn\.bias|attention\.bias|e_score_correction_bias|position_ids|num_batches_tracked|running_\w+)$"
)
"""Tensors that are stored and are no parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFiles:
    """The tensors of a checkpoint."""

    n_bytes: int
    """Of all tensors that the model's layers have; draft layers for multi-token prediction are left out."""
    n_params: int | None
    """Their elements, buffers left out; None where only the index tells the bytes."""
    n_left_out: int
    """Elements of layers beyond those of the model."""
    dtypes: frozenset[str]


def checkpoint_files(folder: Path, *, n_layers: int) -> CheckpointFiles | None:
    """Return what the *.safetensors of a folder hold; None where it has none.

    Args:
        folder: Where they lie.
        n_layers: Layers of the model; later ones are drafts for multi-token prediction.

    Raises:
        NotAModel: A file is damaged, ends too early or is missing.
    """
    index = folder / INDEX
    if not index.is_file() and (folder / "model.safetensors").exists():
        return _counted([folder / "model.safetensors"], n_layers)  # what else lies there belongs to other programs
    if not index.is_file():
        files = sorted(f for f in folder.glob("*.safetensors") if not re.match("consolidated|adapter", f.name))
        return _counted(files or sorted(folder.glob("consolidated*.safetensors")), n_layers)
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = sorted({str(name) for name in content["weight_map"].values()})
        total = content.get("metadata", {}).get("total_size")
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise NotAModel(
            gettext("{index} is not an index of a checkpoint: {error}.").format(index=index, error=first_line(error)),
            remedy=gettext(REMEDY),
        ) from error
    missing = [name for name in names if not (folder / Path(name).name).is_file()]
    if not missing:
        return _counted([folder / Path(name).name for name in names], n_layers)
    if len(missing) < len(names):
        raise NotAModel(
            gettext("{file} is missing, one of {n} files that {index} names.").format(
                file=missing[0], n=len(names), index=INDEX
            ),
            remedy=gettext("Fetch the rest of the checkpoint."),
        )
    if not isinstance(total, int) or total <= 0:
        return None
    return CheckpointFiles(n_bytes=total, n_params=None, n_left_out=0, dtypes=frozenset())


def _counted(files: Iterable[Path], n_layers: int) -> CheckpointFiles | None:
    tensors: dict[str, tuple[int, int, str]] = {}
    places: dict[str, Path] = {}
    for file in files:
        for name, tensor in _tensors(file).items():
            if name in places and _content(file, name) != _content(places[name], name):
                raise NotAModel(
                    gettext("{first} and {second} in {folder} hold {tensor} with other values.").format(
                        first=places[name].name, second=file.name, folder=file.parent, tensor=name
                    ),
                    remedy=gettext("Remove the file that does not belong to the model, or fetch the checkpoint again."),
                )
            tensors[name], places[name] = tensor, file
    if not tensors:
        return None
    later = {name for name in tensors if _is_later(name, n_layers)}
    own = {name: t for name, t in tensors.items() if name not in later}
    return CheckpointFiles(
        n_bytes=sum(n_bytes for _, n_bytes, _ in own.values()),
        n_params=sum(n for name, (n, _, _) in own.items() if not BUFFERS.search(name)),
        n_left_out=sum(tensors[name][0] for name in later),
        dtypes=frozenset(dtype for _, _, dtype in own.values()),
    )


def _content(file: Path, name: str) -> bytes:
    """Return the bytes of a tensor."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        start, end = json.loads(stream.read(length))[name]["data_offsets"]
        stream.seek(8 + length + start)
        return stream.read(end - start)


def _is_later(name: str, n_layers: int) -> bool:
    """Return whether a tensor belongs to a draft layer, which lies behind those of the model."""
    match = re.match(r"(?:model\.|language_model\.)*layers\.(\d+)\.", name)
    return name.startswith("mtp.") or (match is not None and int(match[1]) >= n_layers)


def _tensors(file: Path) -> dict[str, tuple[int, int, str]]:
    """Return the elements, bytes and type of each tensor of a file, from its header."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = stream.read(8)
            if first == LFS_POINTER:
                raise NotAModel(
                    gettext("{file} is a pointer of Git LFS, not the file itself.").format(file=file),
                    remedy=gettext("Run `git lfs pull`."),
                )
            (length,) = struct.unpack("<Q", first)
            if not 0 < length <= min(MOST_HEADER_BYTES, size - 8):
                raise NotAModel(
                    gettext("{file} has {size} bytes, where its header alone has {length}.").format(
                        file=file, size=f"{size:,}", length=f"{length:,}"
                    ),
                    remedy=gettext(REMEDY),
                )
            header = json.loads(stream.read(length))
    except OSError as error:
        raise NotAModel(
            gettext("{file} cannot be read: {reason}.").format(file=file, reason=system_reason(error)),
            remedy=gettext(REMEDY),
        ) from error
    except (struct.error, ValueError, RecursionError) as error:
        raise NotAModel(
            gettext("{file} is no safetensors file, or is damaged.").format(file=file), remedy=gettext(REMEDY)
        ) from error
    try:
        tensors = {name: _tensor(entry) for name, entry in header.items() if name != "__metadata__"}
        end = (
            8
            + length
            + max((int(entry["data_offsets"][1]) for n, entry in header.items() if n != "__metadata__"), default=0)
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise NotAModel(
            gettext("The header of {file} does not describe tensors.").format(file=file), remedy=gettext(REMEDY)
        ) from error
    if end > size:
        raise NotAModel(
            gettext("{file} has {size} bytes, and its tensors end at {end}: it is cut off.").format(
                file=file, size=f"{size:,}", end=f"{end:,}"
            ),
            remedy=gettext(REMEDY),
        )
    return tensors


def _tensor(entry: Mapping[str, object]) -> tuple[int, int, str]:
    shape, offsets, dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError
    start, end = offsets
    n = math.prod(shape)
    if not 0 <= start <= end or n < 0 or (dtype in BITS and (n * BITS[str(dtype)] + 7) // 8 != end - start):
        raise ValueError
    return n, end - start, str(dtype)
