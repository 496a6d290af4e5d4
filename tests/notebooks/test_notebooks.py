"""Every notebook: its form, that it runs, and that its report works as one file."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path):
    return nbformat.read(path, as_version=4)


@each
def test_the_form_is_kept(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.stat().st_size < 200_000
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    in_a_row = 0
    for cell in notebook.cells:
        in_a_row = in_a_row + 1 if cell.cell_type == "code" else 0
        assert in_a_row <= 2
        assert not set(cell.metadata.get("tags", [])) & {"raises-exception", "skip-execution"}
        assert not re.search(r"/root|/home/|/tmp/|sys\.path|!pip|%pip|hf_[A-Za-z0-9]{10}", cell.source)
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert len(cell.source.splitlines()) <= 12
            assert not any(
                isinstance(n, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
                for n in ast.walk(ast.parse(cell.source))
            )


@each
def test_it_runs_from_top_to_bottom_without_a_hidden_error_and_its_report_is_one_small_file(path, report_of):
    target = report_of(path.stem)
    text = target.read_text()
    assert target.stat().st_size < 1_000_000
    assert "default-src 'none'" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_nbmake_runs_a_notebook(tmp_path):
    """All notebooks run above; here the plugin that people use in their own projects does it."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbmake",
        "-c",
        os.devnull,
        "--rootdir",
        str(tmp_path),
    ]
    shutil.copy(ROOT / "notebooks" / "08_cost.ipynb", tmp_path)
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
