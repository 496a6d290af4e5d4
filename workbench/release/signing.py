"""Signing and verification of model folders; the verified files stay open, so that what is read is what was verified."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.core.errors import InvalidSpec
from workbench.release.keys import TrustStore, key_id
from workbench.release.manifest import (
    SIGNED,
    Manifest,
    Signature,
    SignedManifest,
    Tampered,
    canonical,
    digest_of,
    files_below,
    manifest_of,
    open_without_links,
    require_name,
    require_safetensors,
)

PURPOSE = b"inference-workbench release v1\n"  # so that a signature made for another purpose is not valid here


def sign(
    folder: Path, key: Ed25519PrivateKey, *, name: str, version: int, now: float, lasts_s: float, more: bool = False
) -> Manifest:
    """Write ``RELEASE.json`` into a model's folder: its manifest and a signature.

    ``version`` grows with every release of a ``name``. The release expires ``lasts_s`` after ``now`` (seconds since
    1970). ``more`` adds a signature to the present manifest instead of making a new one.

    Raises ``Tampered`` for files that a release must not have, and ``InvalidSpec`` for invalid arguments.
    """
    if type(version) is not int or version < 1 or lasts_s <= 0 or not name:
        raise InvalidSpec(
            f"Version {version} for {lasts_s:g} s.", remedy="Give a name, a whole number from 1 on, and a time."
        )
    require_name(name)
    if more:
        signed = read_signed(folder)
        manifest, signatures = signed.manifest, signed.signatures
    else:
        manifest = manifest_of(folder, name=name, version=version, created_at=now, expires_at=now + lasts_s)
        signatures = ()
    own = key_id(key.public_key())
    signature = Signature(key=own, signature=key.sign(PURPOSE + canonical(manifest)).hex())
    others = tuple(s for s in signatures if s.key != own)
    unfinished = folder / f".{SIGNED}.part"
    unfinished.write_bytes(canonical(SignedManifest(manifest=manifest, signatures=(*others, signature))))
    os.replace(unfinished, folder / SIGNED)
    return manifest


def read_signed(folder: Path) -> SignedManifest:
    """Return the manifest of a folder with its signatures, none of which is verified; raises ``Tampered`` where there is none."""
    with open_without_links(folder, SIGNED) as opened:
        raw = opened.read()
    try:
        return msgspec.json.decode(raw, type=SignedManifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Tampered("malformed", f"{SIGNED} cannot be read: {error}.") from error


class VerifiedRelease:
    """A release whose files are open: what is read is what was verified, even if the folder changes meanwhile."""

    def __init__(self, signed: SignedManifest, opened: dict[str, BinaryIO], signed_by: tuple[str, ...]) -> None:
        self.signed, self.manifest, self.signed_by = signed, signed.manifest, signed_by
        self._opened = opened

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; raises ``Tampered`` when they are not the signed ones."""
        entry = next((f for f in self.manifest.files if f.path == path), None)
        if entry is None:
            raise InvalidSpec(f"The release has no {path}.", remedy="See its manifest.")
        opened = self._opened[path]
        opened.seek(0)
        data = opened.read()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise Tampered("changed", f"{path} was written to after it was verified.")
        return data


@contextmanager
def open_verified(
    folder: Path,
    trust: TrustStore,
    *,
    now: float,
    name: str | None = None,
    least_signatures: int = 1,
    older: bool = False,
) -> Iterator[VerifiedRelease]:
    """Yield a verified release, whose files stay open until the block ends.

    Args:
        folder: Folder of the model.
        trust: Trusted keys, which are read again once the files are verified: a key that was revoked meanwhile does not count.
        now: Time in seconds since 1970.
        name: Name that the release must have; None: any.
        least_signatures: How many different trusted keys must have signed it.
        older: Accept a version below the newest that was accepted before, to go back to it.

    Raises ``Tampered`` with the reason; the version is recorded as accepted before the block begins.
    """
    signed = read_signed(folder)
    manifest = signed.manifest
    _signers(signed, trust, least_signatures)
    if name is not None and manifest.name != name:
        raise Tampered("wrong name", f"This is a release of {manifest.name}, not of {name}.")
    if now >= manifest.expires_at:
        raise Tampered(
            "expired",
            f"The release expired {now - manifest.expires_at:.0f} s ago.",
            remedy="Sign it again, or use a newer release.",
        )
    _require_newest(manifest, trust, older=older)
    present, signed_files = set(files_below(folder)), {f.path for f in manifest.files}
    if extra := sorted(present - signed_files):
        raise Tampered("extra", f"{', '.join(extra[:3])} is in the folder but not in the release.")
    if missing := sorted(signed_files - present):
        raise Tampered("missing", f"{', '.join(missing[:3])} is missing.")
    with ExitStack() as stack:
        opened = {f.path: stack.enter_context(open_without_links(folder, f.path)) for f in manifest.files}
        for entry in manifest.files:
            size, sha256 = digest_of(opened[entry.path])
            if (size, sha256) != (entry.size, entry.sha256):
                raise Tampered("changed", f"{entry.path} is not the file that was signed.")
            if entry.path.endswith(".safetensors"):
                require_safetensors(opened[entry.path], entry.path)
        with trust.accepting(manifest.name, manifest.version, manifest.digest):
            signers = _signers(signed, trust, least_signatures)
            _require_newest(manifest, trust, older=older)
        yield VerifiedRelease(signed, opened, signers)


def _require_newest(manifest: Manifest, trust: TrustStore, *, older: bool) -> None:
    newest, digest = trust.versions.get(manifest.name, 0), trust.digests.get(manifest.name)
    if manifest.version < newest and not older:
        raise Tampered(
            "downgrade", f"Version {manifest.version} is older than version {newest}, which was accepted before."
        )
    if manifest.version == newest and digest not in {None, manifest.digest}:
        raise Tampered(
            "replaced",
            f"Version {newest} was accepted before with another content.",
            remedy="Sign the new content with a higher version.",
        )


def _signers(signed: SignedManifest, trust: TrustStore, least: int) -> tuple[str, ...]:
    manifest = signed.manifest
    message = PURPOSE + canonical(manifest)
    good: list[str] = []
    reasons: list[str] = []
    for s in signed.signatures:
        known = trust.keys.get(s.key)
        if known is None:
            reasons.append(f"{s.key} is not trusted here")
        elif known.is_revoked:
            reasons.append(f"{s.key} is revoked")
        elif manifest.created_at > known.not_after:
            reasons.append(f"{s.key} was out of date when it was signed")
        elif not known.verifies(_bytes(s.signature), message):
            reasons.append(f"the signature of {s.key} does not fit")
        elif s.key not in good:
            good.append(s.key)
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
