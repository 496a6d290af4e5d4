"""Puts a verified release where servers read it: a folder of its own, and a link that is changed in one step."""

import os
import shutil
from pathlib import Path

from workbench.core.errors import NotAvailable, StoreError
from workbench.release.signing import VerifiedRelease

CURRENT = "current"


def install(release: VerifiedRelease, place: Path) -> Path:
    """Copy what was verified, from the very files that were, and let ``current`` point at it.

    Args:
        release: Inside its ``with`` block.
        place: Folder of all releases; this one comes into ``NAME/VERSION``.

    Raises ``Tampered`` when a file changed meanwhile and ``StoreError`` when it cannot be written; ``current`` stays as it was then.
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
                f"{target} cannot be written: {error}.", remedy="Make room, or name another place."
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    _point(line, target)
    return line / CURRENT


def installed(place: Path, name: str) -> list[Path]:
    """Releases of a line that are there, the oldest first."""
    found = [p for p in (place / name).glob("*-*") if p.is_dir() and not p.is_symlink() and not p.name.startswith(".")]
    return sorted(found, key=lambda p: (int(p.name.split("-")[0]), p.name))


def go_back(place: Path, name: str) -> Path:
    """Let ``current`` point at the release before; raises ``NotAvailable`` when there is none."""
    line, there = place / name, installed(place, name)
    now = (line / CURRENT).resolve() if (line / CURRENT).exists() else None
    before = [p for p in there if now is not None and there.index(p) < there.index(now)] if now in there else []
    if not before:
        raise NotAvailable(f"There is no release of {name} before this one.", remedy="Install one first.")
    _point(line, before[-1])
    return before[-1]


def _point(line: Path, target: Path) -> None:
    fresh = line / f".{CURRENT}.{os.getpid()}"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target.name)
    os.replace(fresh, line / CURRENT)
