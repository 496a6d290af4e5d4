"""Installation of verified releases: each in a folder of its own, and a link to the current one that changes atomically."""

import os
import re
import shutil
from pathlib import Path

from workbench.core.errors import NotAvailable, StoreError
from workbench.release.keys import TrustStore
from workbench.release.manifest import (
    SIGNED,
    Tampered,
    canonical,
    digest_of,
    files_below,
    open_without_links,
    require_name,
)
from workbench.release.signing import VerifiedRelease, open_verified, read_signed

CURRENT = "current"
INSTALLED = re.compile("[0-9]+-[0-9a-f]{12}")


def install(release: VerifiedRelease, place: Path) -> Path:
    """Copy the verified files and point ``current`` at the copy; return the link.

    Args:
        release: Verified release, inside its ``with`` block.
        place: Folder of all releases; this one is copied to ``NAME/VERSION-DIGEST``.

    Raises ``Tampered`` when a file changed meanwhile and ``StoreError`` when the copy cannot be written; ``current`` does not change then.
    """
    line = place / release.manifest.name
    target = line / f"{release.manifest.version}-{release.manifest.digest[:12]}"
    if not _holds(target, release):
        unfinished = line / f".{target.name}.{os.getpid()}.part"
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for entry in release.manifest.files:
                file = unfinished / entry.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(release.read(entry.path))
                file.chmod(0o444)
            (unfinished / SIGNED).write_bytes(canonical(release.signed))
            _replace(target, unfinished)
        except OSError as error:
            raise StoreError(
                f"{target} cannot be written: {error}.", remedy="Free disk space, or name another folder."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _point(line, target)
    return line / CURRENT


def _holds(target: Path, release: VerifiedRelease) -> bool:
    """Return whether a folder is a copy of a release, byte by byte."""
    if target.is_symlink() or not target.is_dir():
        return False
    files = {f.path: (f.size, f.sha256) for f in release.manifest.files}
    try:
        if set(files_below(target)) != set(files) or read_signed(target).manifest != release.manifest:
            return False
        for path, signed in files.items():
            with open_without_links(target, path) as opened:
                if digest_of(opened) != signed:
                    return False
    except (Tampered, OSError):
        return False
    return True


def _replace(target: Path, fresh: Path) -> None:
    """Put a fresh copy in the place of what is there, if anything is."""
    if target.is_symlink() or target.exists():
        aside = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(aside)
        fresh.rename(target)
        if aside.is_dir() and not aside.is_symlink():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink()
    else:
        fresh.rename(target)


def installed_releases(place: Path, name: str) -> list[Path]:
    """Return the folders of the installed releases of a name, the oldest first."""
    require_name(name)
    folders = [
        p for p in (place / name).glob("*-*") if INSTALLED.fullmatch(p.name) and p.is_dir() and not p.is_symlink()
    ]
    return sorted(folders, key=lambda p: (int(p.name.split("-")[0]), p.name))


def go_back(place: Path, name: str, *, trust: TrustStore, now: float, least_signatures: int = 1) -> Path:
    """Verify the previous release as it is installed, point ``current`` at it and return it.

    Raises ``NotAvailable`` when there is none, and ``Tampered`` where it is not what was signed, or no trusted key has signed it any more.
    """
    line, there = place / name, installed_releases(place, name)
    current = (line / CURRENT).resolve().name
    names = [p.name for p in there]
    before = there[: names.index(current)] if current in names else []
    if not before:
        raise NotAvailable(f"No earlier release of {name} is installed.", remedy="Install one first.")
    with open_verified(before[-1], trust, now=now, name=name, least_signatures=least_signatures, older=True):
        _point(line, before[-1])
    return before[-1]


def _point(line: Path, target: Path) -> None:
    fresh = line / f".{CURRENT}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    os.replace(fresh, line / CURRENT)
