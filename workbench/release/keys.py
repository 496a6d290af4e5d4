"""Keys that sign releases, and the store of trusted keys with their expiry."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from workbench.core.errors import InvalidSpec, StoreError
from workbench.core.rows import plain


def key_id(public: Ed25519PublicKey) -> str:
    """Return the id of a key: the first 16 hexadecimal digits of the SHA-256 of the raw public key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def new_key(file: Path) -> Ed25519PublicKey:
    """Make a key pair: the private key into a file that only its owner can read, the public one beside it as ``.pub``.

    Raises ``InvalidSpec`` when the file exists.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        at = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InvalidSpec(f"{file} exists.", remedy="Name another file; keys are not overwritten.") from error
    with os.fdopen(at, "wb") as out:
        out.write(pem)
    public = private.public_key()
    file.with_suffix(file.suffix + ".pub").write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return public


def read_private(file: Path) -> Ed25519PrivateKey:
    """Return the private key of a file; raises ``InvalidSpec`` for anything else, and for a file that others can read."""
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise InvalidSpec(f"Others can read {file}.", remedy=f"chmod 600 {file}")
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSpec(
            f"{file} is not a private key: {error}.", remedy="Make one with `workbench sign --new-key FILE`."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidSpec(f"{file} is not an Ed25519 key.", remedy="Make one with `workbench sign --new-key FILE`.")
    return key


def read_public(file: Path) -> Ed25519PublicKey:
    """Return the public key of a file; raises ``InvalidSpec`` for anything else."""
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSpec(f"{file} is not a public key: {error}.", remedy="Name the .pub file.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidSpec(f"{file} is not an Ed25519 key.", remedy="Name the .pub file.")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose signatures are accepted."""

    id: str
    public: str
    """Raw public key, hexadecimal."""
    not_after: float
    """Expiry in seconds since 1970; signatures of releases that were made later are not accepted."""
    is_revoked: bool = False
    """Whether the key is revoked; no signature of it is accepted, however old."""

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether this key made the signature of a message."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public)).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What the file of a trust store holds."""

    keys: tuple[TrustedKey, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


class TrustStore:
    """File of trusted keys, and of the highest version of each name that was accepted on this machine, with its digest.

    A new store is empty. Every change is made to what the file holds at that moment, under a lock, so that processes which change it at the same
    time lose nothing; the file is written atomically.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.read()

    def read(self) -> None:
        """Read the file again; raises ``StoreError`` for one that is no trust store."""
        try:
            stored = msgspec.json.decode(self.file.read_bytes(), type=_Stored) if self.file.exists() else _Stored()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(
                f"{self.file} is not a trust store: {error}.",
                remedy="Restore it from a backup; it cannot be recreated.",
            ) from error
        self.keys = {k.id: k for k in stored.keys}
        self.versions: dict[str, int] = dict(stored.versions)
        self.digests: dict[str, str] = dict(stored.digests)

    def trust(self, public: Ed25519PublicKey, *, not_after: float) -> str:
        """Add a key, or change its expiry, and return its id; a revoked key stays revoked."""
        name = key_id(public)
        with self._changed():
            if name in self.keys and self.keys[name].is_revoked:
                raise InvalidSpec(f"The key {name} is revoked.", remedy="Make a new one.")
            self.keys[name] = TrustedKey(id=name, public=public.public_bytes_raw().hex(), not_after=not_after)
        return name

    def revoke(self, wanted: str) -> None:
        """Revoke a key, so that no signature of it is accepted any more."""
        with self._changed():
            known = self.keys.get(wanted)
            if known is None:
                raise InvalidSpec(f"There is no key {wanted}.", remedy=f"Known: {', '.join(self.keys) or 'none'}.")
            self.keys[wanted] = replace(known, is_revoked=True)

    @contextmanager
    def accepting(self, name: str, version: int, digest: str) -> Iterator[None]:
        """Record a version of a name as accepted, after the block has checked the store as it is at that moment."""
        with self._changed():
            yield
            if version >= self.versions.get(name, 0):
                self.versions[name], self.digests[name] = version, digest

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Lock the store and read it, and write what the block made of it; an error in the block changes nothing."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.with_suffix(self.file.suffix + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.read()
            try:
                yield
            except BaseException:
                self.read()
                raise
            self._write()

    def _write(self) -> None:
        stored = _Stored(keys=tuple(self.keys.values()), versions=self.versions, digests=self.digests)
        unfinished = self.file.with_suffix(self.file.suffix + ".part")
        with unfinished.open("w") as out:
            json.dump(plain(stored), out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, self.file)
