"""Commands that sign, verify and install model folders, and manage trusted keys."""

import json
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from workbench.catalog.paths import workbench_home
from workbench.core.errors import InvalidSpec
from workbench.interface.command import AsJson
from workbench.interface.readable import ReadableErrors, out
from workbench.release import signing
from workbench.release.installing import go_back, install
from workbench.release.keys import TrustStore, key_id, new_key, read_private, read_public
from workbench.release.manifest import SIGNED, Tampered

DAY_S = 86_400.0
Folder = Annotated[str, typer.Argument(help="Model folder that holds RELEASE.json.")]
Name = Annotated[
    str | None, typer.Option(help="Name that the release must have; any name is accepted if it is left out.")
]
Signatures = Annotated[int, typer.Option(help="Number of signatures by different trusted keys that are required.")]
Trust = Annotated[
    str | None,
    typer.Option("--trust", help="File of trusted keys; the file in WORKBENCH_HOME is used if it is left out."),
]


def sign(
    folder: Annotated[str, typer.Argument(help="Model folder to sign; its weights must be safetensors.")] = "",
    key: Annotated[str, typer.Option(help="File of the private key that signs (PEM, Ed25519).")] = "",
    name: Annotated[
        str, typer.Option(help="Name of the release; the name of the folder is used if it is left out.")
    ] = "",
    version: Annotated[
        int, typer.Option(help="Version of the release, which must be higher than that of the previous release.")
    ] = 1,
    days: Annotated[float, typer.Option(help="Number of days after which the release expires.")] = 365.0,
    more: Annotated[
        bool, typer.Option("--more", help="Add a signature to the present manifest instead of making a new one.")
    ] = False,
    make_key: Annotated[
        str | None, typer.Option("--new-key", help="Make a key pair in this file, and sign nothing.")
    ] = None,
) -> None:
    """Write RELEASE.json into a model folder: the digest of every file, version, expiry and a signature."""
    with ReadableErrors():
        if make_key is not None:
            public = new_key(Path(make_key).expanduser())
            out.print(f"key {key_id(public)}: private key in {make_key}, public key in {make_key}.pub")
            return
        if not folder or not key:
            raise InvalidSpec(
                "A folder and a key are required.", remedy="workbench sign FOLDER --key KEY --name NAME --version 2"
            )
        place, private = Path(folder).expanduser(), read_private(Path(key).expanduser())
        name = name or place.resolve().name
        if not more and (place / SIGNED).exists() and (last := signing.read_signed(place).manifest).name == name:
            _require_growth(last.version, version)
        now, lasts_s = time.time(), days * DAY_S
        release = signing.sign(place, private, name=name, version=version, now=now, lasts_s=lasts_s, more=more)
        contents = f"{len(release.files)} files, digest {release.digest[:16]}"
        out.print(f"{release.name} version {release.version}: {contents}, in {place / SIGNED}")


def verify(
    folder: Folder, name: Name = None, signatures: Signatures = 1, trust: Trust = None, as_json: AsJson = False
) -> None:
    """Verify a model folder: signatures, expiry, version, every byte of every file, and that there are no other files."""
    with ReadableErrors():
        try:
            with _verified(folder, name, signatures, trust) as release:
                manifest, signed_by = release.manifest, list(release.signed_by)
        except Tampered as error:
            if not as_json:
                raise
            print(json.dumps({"ok": False, "reason": error.reason, "cause": error.cause}))
            raise typer.Exit(1) from error
        if as_json:
            row = {"ok": True, "name": manifest.name, "version": manifest.version, "digest": manifest.digest}
            print(json.dumps(row | {"signed_by": signed_by}))
        else:
            out.print(f"✓ {manifest.name} version {manifest.version}, signed by {', '.join(signed_by)}")


def release(
    folder: Folder = "",
    to: Annotated[
        str, typer.Option(help="Folder of all releases, which servers read; NAME/current points at the newest release.")
    ] = "",
    name: Name = None,
    signatures: Signatures = 1,
    back: Annotated[bool, typer.Option("--back", help="Point NAME/current at the previous release.")] = False,
    trust: Trust = None,
) -> None:
    """Verify a signed model folder and install the verified files, or go back to the previous release."""
    with ReadableErrors():
        place = Path(to).expanduser()
        if to and back and name is not None:
            before = go_back(place, name, trust=_store(trust), now=time.time(), least_signatures=signatures)
            out.print(f"{name}: current is {before.name} again")
            return
        if not to or back or not folder:
            raise InvalidSpec(
                "A folder and --to are required.",
                remedy="workbench release FOLDER --to PLACE, or workbench release --to PLACE --name NAME --back",
            )
        with _verified(folder, name, signatures, trust) as verified:
            at = install(verified, place)
        out.print(f"{verified.manifest.name} version {verified.manifest.version}: {at}")


def trust(
    key: Annotated[
        str | None,
        typer.Argument(help="File of a public key to trust; if it is left out, trusted keys are only listed."),
    ] = None,
    days: Annotated[
        float, typer.Option(help="Number of days for which releases signed by the key are accepted.")
    ] = 365.0,
    revoke: Annotated[
        str | None, typer.Option(help="Id of a key to revoke; none of its signatures is accepted any more.")
    ] = None,
    file: Trust = None,
) -> None:
    """Trust or revoke a key, and list the trusted keys."""
    with ReadableErrors():
        store = _store(file)
        if revoke is not None:
            store.revoke(revoke)
        if key is not None:
            store.trust(read_public(Path(key).expanduser()), not_after=time.time() + days * DAY_S)
        for k in store.keys.values():
            until = time.strftime("%Y-%m-%d", time.gmtime(k.not_after))
            out.print(f"{k.id} {'revoked' if k.is_revoked else f'until {until}'}")
        for line, version in store.versions.items():
            out.print(f"{line}: newest accepted version {version}")


def _require_growth(last: int, version: int) -> None:
    if version <= last:
        raise InvalidSpec(
            f"The folder holds version {last}; version {version} does not follow it.",
            remedy=f"Sign it as --version {last + 1}.",
        )


def _store(file: str | None) -> TrustStore:
    return TrustStore(Path(file).expanduser() if file else workbench_home() / "trust.json")


def _verified(
    folder: str, name: str | None, signatures: int, trust: str | None
) -> AbstractContextManager[signing.VerifiedRelease]:
    place, now = Path(folder).expanduser(), time.time()
    return signing.open_verified(place, _store(trust), now=now, name=name, least_signatures=signatures)


COMMANDS = (sign, verify, release, trust)
