"""A signed release in a temporary folder, and the result of its verification after each kind of tampering."""

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.release.keys import TrustStore, new_key, read_private
from workbench.release.manifest import Tampered
from workbench.release.signing import open_verified, sign

DAY_S = 86_400.0
FILES = ("config.json", "tokenizer.json", "model.safetensors")


def tamper_report() -> dict[str, str]:
    """Return the result of verification for each kind of tampering with a release of the reference model."""
    report = {}
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        key = home / "key.pem"
        public = new_key(key)
        for what, change in CHANGES.items():
            folder = home / "model"
            folder.mkdir()
            for name in FILES:
                shutil.copyfile(REFERENCE_MODEL / name, folder / name)
            trust = TrustStore(home / f"{what}.json")
            trust.trust(public, not_after=time.time() + DAY_S)
            sign(folder, read_private(key), name="model", version=1, now=time.time(), lasts_s=DAY_S)
            change(folder)
            try:
                with open_verified(folder, trust, now=time.time()):
                    report[what] = "accepted"
            except Tampered as error:
                report[what] = f"refused, {error.reason}: {error.cause}"
            shutil.rmtree(folder)
    return report


def _flip(folder: Path) -> None:
    file = folder / FILES[2]
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _link(folder: Path) -> None:
    (folder / FILES[1]).unlink()
    (folder / FILES[1]).symlink_to(REFERENCE_MODEL / FILES[1])


CHANGES: dict[str, Callable[[Path], object]] = {
    "unchanged": lambda folder: None,  # noqa: ARG005
    "one bit of the weights flipped": _flip,
    "a Python file added": lambda folder: (folder / "modeling_evil.py").write_text("print('hello')"),
    "a file renamed": lambda folder: (folder / FILES[1]).rename(folder / "tokenizer2.json"),
    "a file replaced by a link to the same content": _link,
}
