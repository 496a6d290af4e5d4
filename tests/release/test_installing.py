"""A verified release becomes the current one in one step, and the one before comes back."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from workbench.core.errors import NotAvailable, StoreError
from workbench.release.installing import go_back, install, installed_releases
from workbench.release.keys import TrustStore, new_key, read_private
from workbench.release.manifest import Tampered
from workbench.release.signing import open_verified, sign

NOW, DAY = 1_800_000_000.0, 86_400.0


@pytest.fixture
def home(tmp_path):
    trust = TrustStore(tmp_path / "trust.json")
    trust.trust(new_key(tmp_path / "key.pem"), not_after=NOW + 100 * DAY)
    return tmp_path, trust


def signed(home, version):
    folder = home[0] / f"v{version}"
    (folder / "sub").mkdir(parents=True)
    save_file({"w": np.full(100_000, version, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "sub" / "a.json").write_text(str(version))
    sign(folder, read_private(home[0] / "key.pem"), name="line", version=version, now=NOW, lasts_s=DAY)
    return folder


def put(home, folder):
    with open_verified(folder, home[1], now=NOW + 1) as told:
        return install(told, home[0] / "served")


def test_current_is_what_was_verified_and_the_one_before_comes_back(home):
    for version in (1, 2):
        current = put(home, signed(home, version))
        assert (current / "sub" / "a.json").read_text() == str(version)
    assert [p.name.split("-")[0] for p in installed_releases(home[0] / "served", "line")] == ["1", "2"]
    go_back(home[0] / "served", "line", trust=home[1], now=NOW + 2)
    assert (current / "sub" / "a.json").read_text() == "1"
    with pytest.raises(NotAvailable):
        go_back(home[0] / "served", "line", trust=home[1], now=NOW + 2)


def test_installing_twice_does_no_harm(home):
    folder = signed(home, 1)
    assert put(home, folder) == put(home, folder)
    assert len(installed_releases(home[0] / "served", "line")) == 1


def test_a_tampered_copy_is_replaced_when_the_release_is_installed_again(home):
    folder = signed(home, 1)
    current = put(home, folder)
    for name, text in (("sub/a.json", "evil"), ("extra.py", "evil"), ("RELEASE.json", "{}")):
        file = current / name
        file.unlink(missing_ok=True)
        file.write_text(text)
        put(home, folder)
        assert (current / "sub" / "a.json").read_text() == "1"
        assert not (current / "extra.py").exists()
        assert "signatures" in (current / "RELEASE.json").read_text()
    assert [p.name for p in (home[0] / "served" / "line").iterdir() if p.name.startswith(".")] == []


def test_going_back_verifies_what_is_installed(home):
    current = put(home, signed(home, 1)).resolve()
    put(home, signed(home, 2))
    kept = (current / "sub" / "a.json").read_bytes()
    (current / "sub" / "a.json").chmod(0o644)
    (current / "sub" / "a.json").write_text("evil")
    with pytest.raises(Tampered, match="not the file that was signed"):
        go_back(home[0] / "served", "line", trust=home[1], now=NOW + 2)
    assert (home[0] / "served" / "line" / "current" / "sub" / "a.json").read_text() == "2"
    (current / "sub" / "a.json").write_bytes(kept)
    with pytest.raises(Tampered, match="expired"):
        go_back(home[0] / "served", "line", trust=home[1], now=NOW + 2 * DAY)
    go_back(home[0] / "served", "line", trust=home[1], now=NOW + 2)
    assert (home[0] / "served" / "line" / "current" / "sub" / "a.json").read_text() == "1"
    assert home[1].versions == {"line": 2}


def test_going_back_finds_the_release_before_in_a_relative_folder_too(home, monkeypatch):
    for version in (1, 2):
        put(home, signed(home, version))
    monkeypatch.chdir(home[0])
    assert go_back(Path("served"), "line", trust=home[1], now=NOW + 2).name.startswith("1-")


def test_names_cannot_leave_the_folder_of_all_releases(home):
    with pytest.raises(Tampered, match="not the name"):
        go_back(home[0] / "served", "../x", trust=home[1], now=NOW)


def test_a_file_that_changes_between_verifying_and_copying_is_refused(home):
    first, second = signed(home, 1), signed(home, 2)
    current = put(home, first)
    with open_verified(second, home[1], now=NOW + 1) as told:
        with (second / "model.safetensors").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
        with pytest.raises(Tampered):
            install(told, home[0] / "served")
    assert (current / "sub" / "a.json").read_text() == "1"
    assert len(installed_releases(home[0] / "served", "line")) == 1


def test_a_place_that_cannot_be_written_leaves_current_as_it_was(home):
    folder = signed(home, 1)
    (home[0] / "served").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written"):
        put(home, folder)
