"""The command of techniques as served, where no technique can be measured."""

import pytest
from typer.testing import CliRunner

from workbench.app.main import app


@pytest.mark.slow
def test_a_technique_that_cannot_be_measured_is_a_line_with_its_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path))
    asked = ["served-techniques", "data/models/stdlib-9m", "--only", "pool", "--device", "cpu"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    assert "memory pool: not available: the caching allocator" in " ".join(said.output.split())
    assert "TPOT" not in said.output
