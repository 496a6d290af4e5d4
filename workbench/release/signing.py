"""Signs a model folder and verifies one; what was verified can be read from the very files that were."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.core.errors import InvalidSpec
from workbench.release.keys import TrustStore, key_id
from workbench.release.manifest import (
    SIGNED,
    Manifest,
    Tampered,
    canonical,
    digest_of,
    files_below,
    manifest_of,
    open_without_links,
    require_safetensors,
)

PURPOSE = b"inference-workbench release v1\n"  # so that a signature for something else is none for this


def sign(
    folder: Path, key: Ed25519PrivateKey, *, name: str, version: int, now: float, lasts_s: float, more: bool = False
) -> Manifest:
    """Write ``RELEASE.json`` into a folder: its manifest and a signature.

    Args:
        folder: Of a model.
        key: Signs.
        name: Of the line of releases.
        version: Higher than the one before.
        now: Seconds since 1970.
        lasts_s: After which it is not accepted any more.
        more: Add a signature to the ones that are there, of the same manifest.

    Raises ``Tampered`` for files that a release must not have, and ``InvalidSpec`` for odd wishes.
    """
    if version < 1 or lasts_s <= 0 or not name:
        raise InvalidSpec(
            f"Version {version} for {lasts_s:g} s.", remedy="Give a name, a version from 1 on, and a time."
        )
    signatures: list[dict[str, str]] = []
    if more:
        made, signatures = _read(folder)
    else:
        made = manifest_of(folder, name=name, version=version, created_at=now, expires_at=now + lasts_s)
    message = PURPOSE + canonical(made.to_dict())
    own = key_id(key.public_key())
    signatures = [s for s in signatures if s["key"] != own]
    signatures.append({"key": own, "signature": key.sign(message).hex()})
    unfinished = folder / f".{SIGNED}.part"
    unfinished.write_bytes(canonical({"manifest": made.to_dict(), "signatures": signatures}))
    os.replace(unfinished, folder / SIGNED)
    return made


def _read(folder: Path) -> tuple[Manifest, list[dict[str, str]]]:
    with open_without_links(folder, SIGNED) as opened:
        raw = opened.read()
    try:
        told = json.loads(raw)
        manifest, signatures = (
            told["manifest"],
            [{"key": str(s["key"]), "signature": str(s["signature"])} for s in told["signatures"]],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Tampered("malformed", f"{SIGNED} cannot be read: {type(error).__name__}.") from error
    return Manifest.from_dict(manifest), signatures


class VerifiedRelease:
    """A release whose files are open: what is read is what was verified, whatever happens to the folder meanwhile."""

    def __init__(self, manifest: Manifest, opened: dict[str, BinaryIO], signed_by: tuple[str, ...]) -> None:
        self.manifest, self.signed_by = manifest, signed_by
        self._opened = opened
        self._marks = {name: _mark(f) for name, f in opened.items()}

    def read(self, path: str) -> bytes:
        """All bytes of a file; raises ``Tampered`` when they are not the ones that were signed."""
        entry = next((f for f in self.manifest.files if f.path == path), None)
        if entry is None:
            raise InvalidSpec(f"The release has no {path}.", remedy="See its manifest.")
        opened = self._opened[path]
        opened.seek(0)
        data = opened.read()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise Tampered("changed", f"{path} was written to after it was verified.")
        return data

    def require_unchanged(self) -> None:
        """Raise ``Tampered`` when a file was written to since it was verified."""
        for path, opened in self._opened.items():
            if _mark(opened) != self._marks[path]:
                raise Tampered("changed", f"{path} was written to after it was verified.")


def _mark(opened: BinaryIO) -> tuple[int, int, int]:
    told = os.fstat(opened.fileno())
    return told.st_size, told.st_mtime_ns, told.st_ctime_ns


@contextmanager
def verified(
    folder: Path, trust: TrustStore, *, now: float, name: str | None = None, least_signatures: int = 1
) -> Iterator[VerifiedRelease]:
    """Verify a release; its files stay open until the block ends.

    Args:
        folder: With ``RELEASE.json``.
        trust: Whose signatures count, and which versions were seen.
        now: Seconds since 1970.
        name: Of the line of releases that is expected; None: any.
        least_signatures: Of different trusted keys.

    Raises ``Tampered`` with the reason; an accepted version is remembered before the block begins.
    """
    made, signatures = _read(folder)
    signers = _signers(made, signatures, trust, least_signatures)
    if name is not None and made.name != name:
        raise Tampered("wrong name", f"This is a release of {made.name}, not of {name}.")
    if now >= made.expires_at:
        raise Tampered(
            "expired",
            f"The release expired {now - made.expires_at:.0f} s ago.",
            remedy="Sign it anew, or take a newer one.",
        )
    seen = trust.versions.get(made.name, 0)
    if made.version < seen:
        raise Tampered("downgrade", f"Version {made.version} is older than {seen}, which was accepted here.")
    there, wanted = set(files_below(folder)), {f.path for f in made.files}
    if extra := sorted(there - wanted):
        raise Tampered("extra", f"{', '.join(extra[:3])} is in the folder and not in the release.")
    if missing := sorted(wanted - there):
        raise Tampered("missing", f"{', '.join(missing[:3])} is missing.")
    with ExitStack() as stack:
        opened = {f.path: stack.enter_context(open_without_links(folder, f.path)) for f in made.files}
        for entry in made.files:
            size, sha256 = digest_of(opened[entry.path])
            if (size, sha256) != (entry.size, entry.sha256):
                raise Tampered("changed", f"{entry.path} is not the file that was signed.")
            if entry.path.endswith(".safetensors"):
                require_safetensors(opened[entry.path], entry.path)
        trust.accepted(made.name, made.version)
        yield VerifiedRelease(made, opened, signers)


def _signers(made: Manifest, signatures: list[dict[str, str]], trust: TrustStore, least: int) -> tuple[str, ...]:
    message = PURPOSE + canonical(made.to_dict())
    good: list[str] = []
    reasons: list[str] = []
    for s in signatures:
        known = trust.keys.get(s["key"])
        if known is None:
            reasons.append(f"{s['key']} is not trusted here")
        elif known.is_revoked:
            reasons.append(f"{s['key']} is revoked")
        elif made.created_at > known.not_after:
            reasons.append(f"{s['key']} was out of date when it was signed")
        elif not known.verifies(_bytes(s["signature"]), message):
            reasons.append(f"the signature of {s['key']} does not fit")
        elif s["key"] not in good:
            good.append(s["key"])
    if len(good) < least:
        why = "; ".join(reasons) or "there is no signature"
        kind = "revoked" if "revoked" in why else "wrong key" if "not trusted" in why else "bad signature"
        raise Tampered(kind, f"{len(good)} of {least} signatures count: {why}.", remedy="Ask who made the release.")
    return tuple(good)


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
