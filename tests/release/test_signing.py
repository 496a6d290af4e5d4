"""The tamper matrix: every way to change a release is refused with its reason; what was verified is what is read."""

import json
import os

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.core.errors import InvalidSpec, StoreError
from workbench.release import signing
from workbench.release.example import tamper_report
from workbench.release.keys import TrustStore, key_id, new_key, read_private, read_public
from workbench.release.manifest import SIGNED, Tampered, canonical
from workbench.release.signing import open_verified, sign

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture
def release(tmp_path):
    """A signed folder, the trust in its key, and the key."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    save_file(
        {"w": np.arange(1000, dtype=np.float32), "b": np.zeros(3, dtype=np.float32)}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "sub" / "tokenizer.json").write_text("{}")
    public = new_key(tmp_path / "key.pem")
    trust = TrustStore(tmp_path / "trust.json")
    trust.trust(public, not_after=NOW + 100 * DAY)
    key = read_private(tmp_path / "key.pem")
    sign(folder, key, name="model", version=3, now=NOW, lasts_s=30 * DAY)
    return folder, trust, key


def refusal(release, *, now=NOW + 1, **options):
    folder, trust, _ = release
    with pytest.raises(Tampered) as caught, open_verified(folder, trust, now=now, **options):
        pass
    return caught.value


def test_what_was_signed_is_accepted_and_read(release):
    folder, trust, _ = release
    with open_verified(folder, trust, now=NOW + 1, name="model") as told:
        assert told.read("config.json") == b'{"hidden_size": 8}'
        assert len(told.manifest.files) == 3
        assert told.signed_by == tuple(trust.keys)
    assert TrustStore(trust.file).versions == {"model": 3}


def flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


TAMPERED = {
    "a bit of the weights": (lambda f: flip(f / "model.safetensors"), "changed"),
    "a bit of the configuration": (lambda f: flip(f / "config.json", 3), "changed"),
    "a shorter file": (lambda f: os.truncate(f / "config.json", 3), "changed"),
    "an extra file": (lambda f: (f / "modeling_evil.py").write_text("x"), "extra"),
    "an extra file below": (lambda f: (f / "sub" / "more.json").write_text("{}"), "extra"),
    "a missing file": (lambda f: (f / "config.json").unlink(), "missing"),
    "a renamed file": (lambda f: (f / "config.json").rename(f / "config2.json"), "extra"),
    "a link instead of a file": (
        lambda f: ((f / "config.json").rename(f.parent / "c"), (f / "config.json").symlink_to(f.parent / "c")),
        "symlink",
    ),
    "a folder that is a link": (
        lambda f: ((f / "sub").rename(f.parent / "s"), (f / "sub").symlink_to(f.parent / "s")),
        "symlink",
    ),
    "a pipe": (lambda f: os.mkfifo(f / "pipe"), "not a file"),
    "no manifest": (lambda f: (f / SIGNED).unlink(), "missing"),
    "a manifest that is none": (lambda f: (f / SIGNED).write_text("{}"), "malformed"),
    "a deep manifest": (lambda f: (f / SIGNED).write_text("[" * 100_000), "malformed"),
    "a bit of the manifest": (
        lambda f: (f / SIGNED).write_bytes((f / SIGNED).read_bytes().replace(b'"version":3', b'"version":4')),
        "bad signature",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_every_change_is_refused_with_its_reason(release, what):
    change, reason = TAMPERED[what]
    change(release[0])
    assert refusal(release).reason == reason


def test_every_kind_of_tampering_of_the_report_is_refused():
    report = tamper_report()
    assert [what for what, result in report.items() if result == "accepted"] == ["unchanged"]
    assert len(report) > 20


def test_a_key_that_is_revoked_while_a_release_is_verified_is_revoked(release, monkeypatch):
    _, trust, key = release
    file, digest_of = trust.file, signing.digest_of

    def slowly(opened):
        TrustStore(file).revoke(key_id(key.public_key()))
        return digest_of(opened)

    monkeypatch.setattr(signing, "digest_of", slowly)
    assert refusal(release).reason == "revoked"
    assert TrustStore(file).keys[key_id(key.public_key())].is_revoked
    assert TrustStore(file).versions == {}


def test_stores_that_change_at_the_same_time_lose_nothing(release, tmp_path):
    folder, trust, key = release
    others = [TrustStore(trust.file) for _ in range(3)]
    names = [other.trust(new_key(tmp_path / f"{i}.pem"), not_after=NOW + DAY) for i, other in enumerate(others)]
    others[0].revoke(names[2])
    with open_verified(folder, trust, now=NOW + 1):
        pass
    stored = TrustStore(trust.file)
    assert set(stored.keys) == {key_id(key.public_key()), *names}
    assert stored.keys[names[2]].is_revoked
    assert stored.versions == {"model": 3}


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "/x", "a\\b", ".hidden", "a\nb", "c:", " a", "n" * 129])
def test_names_that_are_no_folder_of_their_own_are_not_signed(release, name):
    folder, _, key = release
    with pytest.raises((InvalidSpec, Tampered)):
        sign(folder, key, name=name, version=4, now=NOW, lasts_s=DAY)


@pytest.mark.parametrize("version", [0, -1, 1.5, 2.0, True, "3"])
def test_versions_are_whole_numbers(release, version):
    folder, _, key = release
    with pytest.raises((InvalidSpec, TypeError)):
        sign(folder, key, name="model", version=version, now=NOW, lasts_s=DAY)


def test_a_hash_that_is_empty_verifies_nothing(release):
    """U2: a missing file with an empty expected digest."""
    folder = release[0]
    told = json.loads((folder / SIGNED).read_text())
    told["manifest"]["files"].append({"path": "gone.json", "size": 0, "sha256": ""})
    (folder / SIGNED).write_bytes(canonical(told))
    assert refusal(release).reason == "bad signature"


@pytest.mark.parametrize("path", ["../out.json", "/etc/passwd", "a//b", "a\\..\\b", "."])
def test_paths_that_lead_out_are_refused_before_anything_is_opened(release, path):
    folder = release[0]
    told = json.loads((folder / SIGNED).read_text())
    told["manifest"]["files"][0]["path"] = path
    (folder / SIGNED).write_bytes(canonical(told))
    assert refusal(release).reason == "malformed"


def test_time_and_versions_go_one_way(release, tmp_path):
    folder, trust, key = release
    assert refusal(release, now=NOW + 31 * DAY).reason == "expired"
    with open_verified(folder, trust, now=NOW + 1):
        pass
    sign(folder, key, name="model", version=2, now=NOW, lasts_s=DAY)
    assert refusal(release).reason == "downgrade"
    sign(folder, key, name="model", version=4, now=NOW, lasts_s=DAY)
    with open_verified(folder, trust, now=NOW + 1):
        pass
    assert refusal(release, name="another").reason == "wrong name"


def test_only_trusted_keys_count_and_revoked_ones_never(release, tmp_path):
    folder, trust, _ = release
    new_key(tmp_path / "other.pem")
    sign(folder, read_private(tmp_path / "other.pem"), name="model", version=5, now=NOW, lasts_s=DAY)
    assert refusal(release).reason == "wrong key"
    trust.trust(read_public(tmp_path / "other.pem.pub"), not_after=NOW - 1)
    assert "out of date" in refusal(release).cause
    trust.trust(read_public(tmp_path / "other.pem.pub"), not_after=NOW + DAY)
    with open_verified(folder, trust, now=NOW + 1) as told:
        other = told.signed_by[0]
    trust.revoke(other)
    assert refusal(release).reason == "revoked"
    with pytest.raises(InvalidSpec, match="is revoked"):
        trust.trust(read_public(tmp_path / "other.pem.pub"), not_after=NOW + DAY)


def test_two_signatures_can_be_asked_for_and_keys_rotate(release, tmp_path):
    folder, trust, key = release
    assert refusal(release, least_signatures=2).cause.startswith("1 of 2")
    sign(folder, key, name="model", version=3, now=NOW, lasts_s=DAY, more=True)  # the same key twice is one
    assert refusal(release, least_signatures=2).cause.startswith("1 of 2")
    second = new_key(tmp_path / "second.pem")
    trust.trust(second, not_after=NOW + DAY)
    sign(folder, read_private(tmp_path / "second.pem"), name="model", version=3, now=NOW, lasts_s=DAY, more=True)
    with open_verified(folder, trust, now=NOW + 1, least_signatures=2) as told:
        assert len(told.signed_by) == 2


def test_a_swap_between_verifying_and_loading_changes_nothing(release):
    folder, trust, _ = release
    with open_verified(folder, trust, now=NOW + 1) as told:
        (folder / "config.json").rename(folder / "old.json")
        (folder / "config.json").write_text('{"hidden_size": 666}')
        assert told.read("config.json") == b'{"hidden_size": 8}'


def test_writing_into_a_verified_file_is_noticed(release):
    folder, trust, _ = release
    with open_verified(folder, trust, now=NOW + 1) as told:
        with (folder / "config.json").open("r+b") as out:
            out.write(b"#")
        with pytest.raises(Tampered, match="written to after"):
            told.read("config.json")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "modeling.py", "model.pkl", "lib.so"])
def test_files_that_can_hold_programs_are_not_signed(release, name):
    folder, _, key = release
    (folder / name).write_bytes(b"x")
    with pytest.raises(Tampered, match="can hold a program"):
        sign(folder, key, name="model", version=9, now=NOW, lasts_s=DAY)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 8,
        (10**9).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}" + b"rest",
    ],
)
def test_weights_whose_header_lies_are_not_signed(release, data):
    folder, _, key = release
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(Tampered, match=r"safetensors header|cannot be read|bytes of data"):
        sign(folder, key, name="model", version=9, now=NOW, lasts_s=DAY)


def test_overlapping_tensors_are_not_signed(release):
    folder, _, key = release
    header = json.dumps({n: {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} for n in "ab"}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
    with pytest.raises(Tampered, match="overlap"):
        sign(folder, key, name="model", version=9, now=NOW, lasts_s=DAY)


def test_keys_are_kept_from_others_and_never_overwritten(tmp_path):
    file = tmp_path / "k.pem"
    new_key(file)
    assert file.stat().st_mode & 0o077 == 0
    with pytest.raises(InvalidSpec, match="exists"):
        new_key(file)
    file.chmod(0o644)
    with pytest.raises(InvalidSpec, match="Others can read"):
        read_private(file)
    for read in (read_private, read_public):
        with pytest.raises(InvalidSpec):
            read(tmp_path / "none")
    broken = tmp_path / "trust.json"
    broken.write_text("{")
    with pytest.raises(StoreError, match="not a trust store"):
        TrustStore(broken)


def test_from_a_shell_a_folder_is_signed_trusted_verified_and_refused(release, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from workbench.app.main import app

    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    folder = str(release[0])

    def call(*arguments):
        return CliRunner().invoke(app, list(arguments))

    key = str(tmp_path / "shell.pem")
    assert call("sign", "--new-key", key).exit_code == 0
    assert call("sign", folder, "--key", key, "--name", "m", "--version", "2").exit_code == 0
    told = json.loads(call("verify", folder, "--json").output)
    assert (told["ok"], told["reason"]) == (False, "wrong key")
    assert "until" in call("trust", f"{key}.pub").output
    told = json.loads(call("verify", folder, "--json").output)
    assert (told["ok"], told["version"]) == (True, 2)
    flip(release[0] / "config.json", 3)
    refused = call("verify", folder)
    assert refused.exit_code != 0
    assert "not the file that was signed" in " ".join(refused.output.split())
    assert "A folder and a key" in call("sign").output
