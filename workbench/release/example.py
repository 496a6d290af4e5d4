"""A signed release in a temporary folder, and the result of its verification after each kind of tampering."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.rows import Json
from workbench.release.keys import TrustStore, key_id, new_key, read_private
from workbench.release.manifest import SIGNED, Tampered
from workbench.release.signing import open_verified, read_signed, sign

DAY_S = 86_400.0
FILES = ("config.json", "tokenizer.json", "model.safetensors")
NAME, VERSION = "model", 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A signed release, the key that signed it and the store that trusts this key."""

    folder: Path
    key: Ed25519PrivateKey
    trust: TrustStore
    now: float

    @property
    def weights(self) -> Path:
        """File that holds the weights of the model."""
        return self.folder / FILES[2]

    def sign(self, **changes: object) -> None:
        """Sign the folder again, with other arguments than before."""
        how = {"key": self.key, "name": NAME, "version": VERSION, "now": self.now, "lasts_s": DAY_S} | changes
        sign(self.folder, **how)  # type: ignore[arg-type]

    def rewrite(self, change: Callable[[dict[str, Json]], object]) -> None:
        """Change the manifest without signing it."""
        file = self.folder / SIGNED
        signed = json.loads(file.read_bytes())
        change(signed)
        file.write_text(json.dumps(signed), encoding="utf-8")

    def accept(self) -> None:
        """Verify the release, which records it as accepted."""
        with open_verified(self.folder, self.trust, now=self.now):
            pass


def tamper_report() -> dict[str, str]:
    """Return the result of verification for each kind of tampering with a release of the reference model."""
    report: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        home, now = Path(place), time.time()
        new_key(home / "key.pem")
        key = read_private(home / "key.pem")
        for what, change in CHANGES.items():
            folder = home / "model"
            folder.mkdir()
            for name in FILES:
                shutil.copyfile(REFERENCE_MODEL / name, folder / name)
            trust = TrustStore(home / f"{len(report)}.json")
            trust.trust(key.public_key(), not_after=now + DAY_S)
            scene = Scene(folder=folder, key=key, trust=trust, now=now)
            scene.sign()
            change(scene)
            try:
                with open_verified(folder, trust, now=now, name=NAME):
                    report[what] = "accepted"
            except Tampered as error:
                report[what] = f"refused, {error.reason}: {error.cause}"
            shutil.rmtree(folder)
    return report


def _flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def _swap(s: Scene) -> None:
    (s.folder / FILES[0]).rename(s.folder / "aside")
    (s.folder / FILES[1]).rename(s.folder / FILES[0])
    (s.folder / "aside").rename(s.folder / FILES[1])


def _link(s: Scene) -> None:
    (s.folder / FILES[1]).unlink()
    (s.folder / FILES[1]).symlink_to(REFERENCE_MODEL / FILES[1])


def _add_below(s: Scene) -> None:
    (s.folder / "x").mkdir()
    (s.folder / "x" / "y.json").write_text("{}")


def _set(**fields: Json) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        scene.rewrite(lambda signed: _part(signed, "manifest").update(fields))

    return change


def _part(signed: dict[str, Json], name: str) -> dict[str, Json]:
    part = signed[name]
    assert isinstance(part, dict)
    return part


def _drop_a_file(s: Scene) -> None:
    (s.folder / FILES[0]).unlink()
    kept: list[Json] = [
        {"path": f.path, "size": f.size, "sha256": f.sha256} for f in read_signed(s.folder).manifest.files
    ]
    _set(files=kept[1:])(s)


def _sign_by_stranger(s: Scene) -> None:
    s.sign(key=Ed25519PrivateKey.generate())


def _claim_the_key(s: Scene) -> None:
    _sign_by_stranger(s)
    own = key_id(s.key.public_key())
    s.rewrite(
        lambda signed: signed.update(
            signatures=[{"key": own, "signature": read_signed(s.folder).signatures[0].signature}]
        )
    )


def _older(s: Scene) -> None:
    s.accept()
    s.sign(version=VERSION - 1)


def _replaced(s: Scene) -> None:
    s.accept()
    (s.folder / FILES[0]).write_text("{}")
    s.sign()


CHANGES: Mapping[str, Callable[[Scene], object]] = {
    "unchanged": lambda s: None,  # noqa: ARG005
    "one bit of the weights flipped": lambda s: _flip(s.weights, -1),
    "one bit of the weights' header flipped": lambda s: _flip(s.weights, 20),
    "the weights cut short": lambda s: os.truncate(s.weights, s.weights.stat().st_size - 1),
    "a byte appended to the weights": lambda s: s.weights.write_bytes(s.weights.read_bytes() + b"x"),
    "one byte of the configuration changed": lambda s: _flip(s.folder / FILES[0], 3),
    "a Python file added": lambda s: (s.folder / "modeling_evil.py").write_text("print('hello')"),
    "a hidden file added": lambda s: (s.folder / ".pth").write_text("import evil"),
    "a file in a new folder added": _add_below,
    "a file removed": lambda s: (s.folder / FILES[1]).unlink(),
    "a file renamed": lambda s: (s.folder / FILES[1]).rename(s.folder / "tokenizer2.json"),
    "two files exchanged": _swap,
    "a file replaced by a link to the same content": _link,
    "a pipe added": lambda s: os.mkfifo(s.folder / "pipe"),
    "the manifest removed": lambda s: (s.folder / SIGNED).unlink(),
    "the signatures removed": lambda s: s.rewrite(lambda signed: signed.update(signatures=[])),
    "a higher version in the manifest": _set(version=VERSION + 1),
    "a version that is no whole number": _set(version=2.5),
    "a later expiry in the manifest": _set(expires_at=4e9),
    "another name in the manifest": _set(name="../model"),
    "a file dropped from the folder and the manifest": _drop_a_file,
    "signed by an unknown key": _sign_by_stranger,
    "an unknown key's signature under a known key's name": _claim_the_key,
    "signed by a key that was revoked since": lambda s: s.trust.revoke(key_id(s.key.public_key())),
    "an expired release": lambda s: s.sign(now=s.now - 2 * DAY_S),
    "an older version than the one before": _older,
    "another content under the same version": _replaced,
    "another release, signed rightly": lambda s: s.sign(name="other"),
}
"""Change of a signed release by its description."""
