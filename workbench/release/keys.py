"""Keys that sign releases, and which of them are trusted, until when."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from workbench.core.errors import InvalidSpec, StoreError


def key_id(public: Ed25519PublicKey) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the raw public key."""
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


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
    """A private key; raises ``InvalidSpec`` for anything else, and for a file that others can read."""
    try:
        if os.name == "posix" and file.stat().st_mode & 0o077:
            raise InvalidSpec(f"Others can read {file}.", remedy=f"chmod 600 {file}")
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSpec(
            f"{file} is no private key: {error}.", remedy="Make one with `workbench sign --new-key FILE`."
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidSpec(f"{file} is not an Ed25519 key.", remedy="Make one with `workbench sign --new-key FILE`.")
    return key


def read_public(file: Path) -> Ed25519PublicKey:
    """A public key; raises ``InvalidSpec`` for anything else."""
    try:
        key = serialization.load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise InvalidSpec(f"{file} is no public key: {error}.", remedy="Name the .pub file.") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidSpec(f"{file} is not an Ed25519 key.", remedy="Name the .pub file.")
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose signatures count."""

    id: str
    public: str
    """Raw public key, hexadecimal."""
    not_after: float
    """Seconds since 1970; signatures of releases that were made later do not count."""
    is_revoked: bool = False
    """Nothing that it has signed counts, also of before."""

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made the signature."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public)).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


class TrustStore:
    """A file of trusted keys, and of the highest version of each name that was ever accepted here.

    Args:
        file: JSON; a new one is empty. It is written whole or not at all.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            told = json.loads(file.read_text()) if file.exists() else {"keys": [], "versions": {}}
            self.keys = {k["id"]: TrustedKey(**k) for k in told["keys"]}
            self.versions: dict[str, int] = {str(n): int(v) for n, v in told["versions"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{file} is no trust store: {error}.", remedy="Restore it from a copy; it cannot be made up."
            ) from error

    def trust(self, public: Ed25519PublicKey, *, not_after: float) -> str:
        """Add a key, or change until when it counts; the id. A revoked key stays revoked."""
        made = key_id(public)
        if made in self.keys and self.keys[made].is_revoked:
            raise InvalidSpec(f"The key {made} is revoked.", remedy="Make a new one.")
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.keys[made] = TrustedKey(id=made, public=raw.hex(), not_after=not_after)
        self._write()
        return made

    def revoke(self, wanted: str) -> None:
        """From now on nothing that a key has signed counts."""
        known = self.keys.get(wanted)
        if known is None:
            raise InvalidSpec(f"There is no key {wanted}.", remedy=f"Known: {', '.join(self.keys) or 'none'}.")
        self.keys[wanted] = TrustedKey(id=known.id, public=known.public, not_after=known.not_after, is_revoked=True)
        self._write()

    def accepted(self, name: str, version: int) -> None:
        """Remember the highest version, so that an older one is refused."""
        if version > self.versions.get(name, 0):
            self.versions[name] = version
            self._write()

    def _write(self) -> None:
        told: Mapping[str, object] = {
            "keys": [
                {f: getattr(k, f) for f in ("id", "public", "not_after", "is_revoked")} for k in self.keys.values()
            ],
            "versions": self.versions,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.file.with_suffix(self.file.suffix + ".part")
        with unfinished.open("w") as out:
            json.dump(told, out, indent=1)
            out.flush()
            os.fsync(out.fileno())
        os.replace(unfinished, self.file)
