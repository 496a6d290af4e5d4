"""Manifest of a release: every file with its size and digest, and the checks of its files."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from workbench.core.errors import WorkbenchError
from workbench.core.rows import plain
from workbench.release.pickles import pickle_calls

SIGNED = "RELEASE.json"
ALLOWED = frozenset({".safetensors", ".json", ".txt", ".md", ".jinja", ".model", ".tiktoken"})
"""File extensions that cannot hold a program; code in a model folder would be run by a server."""
MOST_HEADER_BYTES = 100_000_000
PIECE_BYTES = 1 << 20
MOST_NAME_BYTES = 128


class Tampered(WorkbenchError):
    """A release that must not be loaded."""

    def __init__(self, reason: str, cause: str, *, remedy: str = "Do not load it; fetch the release anew.") -> None:
        super().__init__(cause, remedy=remedy)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of a release, with its size and digest."""

    path: str
    """Path relative to the folder, with slashes."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All files of a release; nothing else may be in the folder."""

    name: str
    version: int
    """Version, which grows with every release of this name."""
    created_at: float
    """Time of signing, in seconds since 1970."""
    expires_at: float
    files: tuple[FileEntry, ...]

    def __post_init__(self) -> None:
        require_name(self.name)
        if type(self.version) is not int or self.version < 1:
            raise Tampered("malformed", f"The version {self.version} is not a whole number from 1 on.")
        for f in self.files:
            _require_inside(f.path)
        if len({f.path for f in self.files}) != len(self.files):
            raise Tampered("malformed", "The manifest names a file twice.")

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest: the identity of the weights for caches and logs."""
        return hashlib.sha256(canonical(self)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Signature of one key over a manifest."""

    key: str
    """Id of the key."""
    signature: str
    """Hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """Content of ``RELEASE.json``: a manifest and its signatures."""

    manifest: Manifest
    signatures: tuple[Signature, ...]


def canonical(value: object) -> bytes:
    """Return a value as JSON in the one form that is signed."""
    return json.dumps(plain(value), sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def require_name(name: str) -> None:
    """Raise ``Tampered`` for a name that could not be the name of one folder inside the folder of all releases."""
    is_visible = name.isprintable() and name == name.strip() and len(name.encode("utf-8", "replace")) <= MOST_NAME_BYTES
    if not name or name.startswith(".") or not is_visible or any(c in name for c in "/\\:"):
        raise Tampered(
            "malformed",
            f"{name!r} is not the name of a release.",
            remedy="Use letters, digits, '-', '_' and '.', and begin with a letter or digit.",
        )


def _require_inside(path: str) -> None:
    parts = path.split("/")
    if not path or path.startswith("/") or "\\" in path or any(p in {"", ".", ".."} for p in parts):
        raise Tampered("malformed", f"{path!r} is not a path inside the folder.")


def files_below(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files but ``RELEASE.json``; raises ``Tampered`` for links and special files."""
    for place, folders, names in os.walk(folder, followlinks=False):
        for name in sorted([*folders, *names]):
            full = Path(place) / name
            kind = os.lstat(full).st_mode
            if stat.S_ISDIR(kind):
                continue
            relative = full.relative_to(folder).as_posix()
            if not stat.S_ISREG(kind):
                what = "a link" if stat.S_ISLNK(kind) else "not a plain file"
                raise Tampered("symlink" if stat.S_ISLNK(kind) else "not a file", f"{relative} is {what}.")
            if relative != SIGNED:
                yield relative


def digest_of(opened: BinaryIO) -> tuple[int, str]:
    """Return size and SHA-256 of an open file, read from its beginning."""
    opened.seek(0)
    digest, size = hashlib.sha256(), 0
    while piece := opened.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def open_without_links(folder: Path, relative: str) -> BinaryIO:
    """Return an open file below a folder; raises ``Tampered`` where the file or a directory on the way is a link."""
    _require_inside(relative)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *parents, name = relative.split("/")
        for parent in parents:
            below = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at), "rb")
    except FileNotFoundError as error:
        raise Tampered("missing", f"{relative} is missing.") from error
    except OSError as error:
        raise Tampered("symlink", f"{relative} cannot be opened as a plain file: {error.strerror}.") from error
    finally:
        os.close(at)


def manifest_of(folder: Path, *, name: str, version: int, created_at: float, expires_at: float) -> Manifest:
    """Return the manifest of a folder; raises ``Tampered`` for files that a release must not have."""
    entries = []
    for relative in files_below(folder):
        require_harmless(folder, relative)
        with open_without_links(folder, relative) as opened:
            size, sha256 = digest_of(opened)
        entries.append(FileEntry(path=relative, size=size, sha256=sha256))
    if not any(e.path.endswith(".safetensors") for e in entries):
        raise Tampered("no weights", f"{folder} has no .safetensors file.", remedy="Name a model folder.")
    return Manifest(
        name=name,
        version=version,
        created_at=created_at,
        expires_at=expires_at,
        files=tuple(sorted(entries, key=lambda e: e.path)),
    )


def require_harmless(folder: Path, relative: str) -> None:
    """Raise ``Tampered`` for file types that can hold programs, and for weights with an invalid header."""
    ending = Path(relative).suffix.lower()
    if ending != ".safetensors":
        with open_without_links(folder, relative) as opened:
            calls = pickle_calls(opened)
        if calls is not None:
            what = f" that would call {', '.join(calls[:3])}" if calls else ""
            raise Tampered(
                "pickle",
                f"{relative} is a pickle{what}.",
                remedy="Loading a pickle can run any code: convert the weights to safetensors.",
            )
    if ending not in ALLOWED:
        raise Tampered(
            "not allowed",
            f"{relative} is of a type that can hold a program.",
            remedy=f"Convert weights to safetensors and remove code; allowed extensions: {', '.join(sorted(ALLOWED))}.",
        )
    if ending == ".safetensors":
        with open_without_links(folder, relative) as opened:
            require_safetensors(opened, relative)


def require_safetensors(opened: BinaryIO, name: str) -> None:
    """Check a safetensors header: its length, that tensors lie inside the file, touch without gaps and do not overlap."""
    opened.seek(0, os.SEEK_END)
    size = opened.tell()
    opened.seek(0)
    length = int.from_bytes(opened.read(8), "little")
    if size < 8 or not 2 <= length <= min(MOST_HEADER_BYTES, size - 8):
        raise Tampered("bad weights", f"{name} has no safetensors header.")
    try:
        header = json.loads(opened.read(length))
        spans = sorted(tuple(v["data_offsets"]) for k, v in header.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Tampered("bad weights", f"{name} has a header that cannot be read: {type(error).__name__}.") from error
    at = 0
    for begin, end in spans:
        if begin != at or end < begin:
            raise Tampered("bad weights", f"{name} has tensors that overlap or leave gaps.")
        at = end
    if at != size - 8 - length:
        raise Tampered("bad weights", f"{name} has {size - 8 - length} bytes of data and tensors for {at}.")
