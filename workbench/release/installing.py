"""Installation of verified releases: each in a folder of its own, and a link to the current one that changes atomically."""

import os
import shutil
from pathlib import Path

from workbench.core.errors import NotAvailable, StoreError
from workbench.release.signing import VerifiedRelease

CURRENT = "current"


def install(release: VerifiedRelease, place: Path) -> Path:
    """Copy the verified files and point ``current`` at the copy; return the link.

    Args:
        release: Verified release, inside its ``with`` block.
        place: Folder of all releases; this one is copied to ``NAME/VERSION-DIGEST``.

    Raises ``Tampered`` when a file changed meanwhile and ``StoreError`` when the copy cannot be written; ``current`` does not change then.
    """
    line = place / release.manifest.name
    target = line / f"{release.manifest.version}-{release.manifest.digest[:12]}"
    if not target.exists():
        unfinished = line / f".{target.name}.{os.getpid()}.part"
        try:
            unfinished.mkdir(parents=True)
            for entry in release.manifest.files:
                file = unfinished / entry.path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(release.read(entry.path))
                file.chmod(0o444)
            unfinished.rename(target)
        except OSError as error:
            raise StoreError(
                f"{target} cannot be written: {error}.", remedy="Free disk space, or name another folder."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _point(line, target)
    return line / CURRENT


def installed_releases(place: Path, name: str) -> list[Path]:
    """Return the folders of the installed releases of a name, the oldest first."""
    folders = [
        p for p in (place / name).glob("*-*") if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")
    ]
    return sorted(folders, key=lambda p: (int(p.name.split("-")[0]), p.name))


def go_back(place: Path, name: str) -> Path:
    """Point ``current`` at the previous release and return it; raises ``NotAvailable`` when there is none."""
    line, there = place / name, installed_releases(place, name)
    now = (line / CURRENT).resolve()
    before = there[: there.index(now)] if now in there else []
    if not before:
        raise NotAvailable(f"No earlier release of {name} is installed.", remedy="Install one first.")
    _point(line, before[-1])
    return before[-1]


def _point(line: Path, target: Path) -> None:
    fresh = line / f".{CURRENT}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    os.replace(fresh, line / CURRENT)
