"""Commands that sign model folders, say whose signatures count, and verify."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from workbench.cli.precision import AsJson
from workbench.cli.readable import ReadableErrors
from workbench.core.errors import InvalidSpec
from workbench.jobs.manager import workbench_home
from workbench.release.installing import go_back, install
from workbench.release.keys import TrustStore, key_id, new_key, read_private, read_public
from workbench.release.manifest import SIGNED, Tampered
from workbench.release.signing import sign as signed
from workbench.release.signing import verified

out = Console()
DAY_S = 86_400.0
Trust = Annotated[str | None, typer.Option(help="File of trusted keys; that of this user if left out.")]


def sign(
    folder: Annotated[str, typer.Argument(help="Model folder, safetensors only.")] = "",
    key: Annotated[str, typer.Option(help="Private key (PEM, Ed25519).")] = "",
    name: Annotated[str, typer.Option(help="Of the line of releases.")] = "",
    version: Annotated[int, typer.Option(help="Higher than the one before.")] = 1,
    days: Annotated[float, typer.Option(help="After which it is not accepted any more.")] = 365.0,
    more: Annotated[bool, typer.Option("--more", help="Add a signature to those that are there.")] = False,
    make_key: Annotated[str | None, typer.Option("--new-key", help="Make a key pair in this file and end.")] = None,
) -> None:
    """Write RELEASE.json into a model folder: every file with its digest, version, expiry, and a signature."""
    with ReadableErrors():
        if make_key is not None:
            public = new_key(Path(make_key).expanduser())
            out.print(f"key {key_id(public)}: {make_key}, and {make_key}.pub for those who verify", highlight=False)
            return
        if not folder or not key:
            raise InvalidSpec(
                "A folder and a key are needed.", remedy="workbench sign FOLDER --key KEY --name NAME --version 2"
            )
        place = Path(folder).expanduser()
        made = signed(
            place,
            read_private(Path(key).expanduser()),
            name=name or place.resolve().name,
            version=version,
            now=time.time(),
            lasts_s=days * DAY_S,
            more=more,
        )
        out.print(
            f"{made.name} version {made.version}: {len(made.files)} files, digest {made.digest[:16]}, in {place / SIGNED}",
            highlight=False,
        )


def verify(
    folder: Annotated[str, typer.Argument(help="Model folder with RELEASE.json.")],
    name: Annotated[str | None, typer.Option(help="Of the line of releases that is expected.")] = None,
    signatures: Annotated[int, typer.Option(help="Of different trusted keys that are needed.")] = 1,
    trust: Trust = None,
    as_json: AsJson = False,
) -> None:
    """Verify a model folder: signatures, expiry, version, every byte of every file, and that nothing else is there."""
    with ReadableErrors():
        try:
            with verified(
                Path(folder).expanduser(), _store(trust), now=time.time(), name=name, least_signatures=signatures
            ) as told:
                row = {
                    "ok": True,
                    "name": told.manifest.name,
                    "version": told.manifest.version,
                    "digest": told.manifest.digest,
                    "signed_by": list(told.signed_by),
                }
        except Tampered as error:
            if as_json:
                print(json.dumps({"ok": False, "reason": error.reason, "cause": error.cause}))
                raise typer.Exit(1) from error
            raise
        if as_json:
            print(json.dumps(row))
        else:
            out.print(
                f"✓ {row['name']} version {row['version']}, signed by {', '.join(told.signed_by)}", highlight=False
            )


def release(
    folder: Annotated[str, typer.Argument(help="Model folder with RELEASE.json.")] = "",
    to: Annotated[str, typer.Option(help="Folder of all releases that servers read; NAME/current is the newest.")] = "",
    name: Annotated[str | None, typer.Option(help="Of the line of releases.")] = None,
    signatures: Annotated[int, typer.Option(help="Of different trusted keys that are needed.")] = 1,
    back: Annotated[bool, typer.Option("--back", help="Go back to the release before.")] = False,
    trust: Trust = None,
) -> None:
    """Verify a signed model folder and install it from the very files that were verified; or go back by one."""
    with ReadableErrors():
        if not to or (back and name is None) or not (back or folder):
            raise InvalidSpec(
                "A folder and a place are needed.",
                remedy="workbench release FOLDER --to PLACE, or workbench release --to PLACE --name NAME --back",
            )
        place = Path(to).expanduser()
        if back:
            assert name is not None
            out.print(f"{name}: {go_back(place, name).name} again", highlight=False)
            return
        with verified(
            Path(folder).expanduser(), _store(trust), now=time.time(), name=name, least_signatures=signatures
        ) as told:
            at = install(told, place)
        out.print(f"{told.manifest.name} version {told.manifest.version}: {at}", highlight=False)


def trust(
    key: Annotated[
        str | None, typer.Argument(help="Public key file to trust; the keys are listed if left out.")
    ] = None,
    days: Annotated[float, typer.Option(help="For releases that are signed within so many days.")] = 365.0,
    revoke: Annotated[
        str | None, typer.Option(help="Id of a key whose signatures count no more, also old ones.")
    ] = None,
    file: Annotated[
        str | None, typer.Option("--trust", help="File of trusted keys; that of this user if left out.")
    ] = None,
) -> None:
    """Say whose signatures count here, and whose no more."""
    with ReadableErrors():
        store = _store(file)
        if revoke is not None:
            store.revoke(revoke)
        if key is not None:
            store.trust(read_public(Path(key).expanduser()), not_after=time.time() + days * DAY_S)
        for k in store.keys.values():
            until = time.strftime("%Y-%m-%d", time.gmtime(k.not_after))
            out.print(f"{k.id} {'revoked' if k.is_revoked else f'until {until}'}", highlight=False)
        for line, version in store.versions.items():
            out.print(f"{line}: version {version} was accepted here", highlight=False)


def _store(file: str | None) -> TrustStore:
    return TrustStore(Path(file).expanduser() if file else workbench_home() / "trust.json")
