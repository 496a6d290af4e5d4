import gzip
import itertools
import json
import shutil
import subprocess

import nbformat
import pytest
from support import invented_run

from workbench.estimate.cost import decode_s_at, usd_per_million_output_tokens
from workbench.interface.html import message_card, table
from workbench.interface.report.notebook import ReportFailed, write_report
from workbench.interface.report.page import HERE, PLOTLY_FILE, json_script, page
from workbench.questions.quantization.panel import QuantizationPanel

PRICES, UTILISATIONS, BATCHES = (0.05, 0.5, 3.99, 98.32), (0.01, 0.25, 0.5, 1.0), (1, 2, 3, 5, 8, 13, 32, 64)
MEASURED = ({1: 0.004}, {1: 0.0041, 8: 0.0063}, {1: 0.003, 8: 0.009, 32: 0.02})


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_computes_what_python_computes_on_the_whole_grid():
    grid = list(itertools.product(PRICES, UTILISATIONS, BATCHES, range(len(MEASURED))))
    script = (
        f"const W = require({json.dumps(str(HERE / 'runtime.js'))});"
        f"const grid = {json.dumps(grid)}, measured = {json.dumps(MEASURED)};"
        "console.log(JSON.stringify(grid.map(([p, u, b, m]) => W.usdPerMillion(p, W.decodeSecondsAt(b, measured[m]), b, u))));"
    )
    out = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout
    for (price, used, batch, which), value in zip(grid, json.loads(out), strict=True):
        step = decode_s_at(batch, MEASURED[which])
        expected = usd_per_million_output_tokens(price, decode_s=step, batch=batch, utilization_fraction=used)
        assert value == pytest.approx(expected, rel=1e-9)


def test_data_cannot_end_its_script_element():
    assert (
        "</script><script>"
        not in json_script({"x": "</script><script>alert(1)</script>"})[len('<script type="application/json">') :]
    )


def test_texts_from_outside_cannot_become_markup():
    assert "<script>" not in message_card("failure", "x", "<script>alert(1)</script>", "<b>")
    assert "<img" not in table(("a", "b"), [("1", "<img src=x>")])


def test_a_page_forbids_requests_and_stays_small(manager):
    run = invented_run()
    manager.store.add(run)
    body = QuantizationPanel(manager, hardware=f"stored:{run.environment.device}").static_html()
    document = page("t", body, footer="f")
    assert "default-src 'none'" in document
    assert "connect-src 'none'" in document
    assert len(document) < 1_000_000
    assert document.count("wb-plotly") >= 1
    assert "http://" not in document.replace(json.dumps("http://"), "").split("<script id")[0]
    assert "● measured" in body
    assert "▬ published" in body
    assert run.id in body


def test_the_packed_plotly_is_the_cartesian_bundle():
    source = gzip.decompress(PLOTLY_FILE.read_bytes()).decode()
    assert "plotly.js (cartesian" in source[:400]


def notebook(tmp_path, *cells):
    content = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A title"), *map(nbformat.v4.new_code_cell, cells)]
    )
    path = tmp_path / "n.ipynb"
    nbformat.write(content, path)
    return path


def test_a_notebook_becomes_one_page(tmp_path):
    code = "from IPython.display import HTML\nprint('<plain>')\nHTML('<b>bold</b>')"
    target = write_report(notebook(tmp_path, code), tmp_path / "out" / "n.html")
    text = target.read_text()
    assert "<title>A title</title>" in text
    assert "&lt;plain&gt;" in text
    assert "<b>bold</b>" in text
    assert "print(" not in text


def test_a_notebook_that_fails_writes_nothing_and_says_where(tmp_path):
    with pytest.raises(ReportFailed, match="ZeroDivisionError"):
        write_report(notebook(tmp_path, "1 / 0"), tmp_path / "n.html")
    assert not (tmp_path / "n.html").exists()


def test_a_file_that_is_no_notebook_is_named(tmp_path):
    (tmp_path / "x.ipynb").write_text("nonsense")
    with pytest.raises(ReportFailed, match=r"x\.ipynb"):
        write_report(tmp_path / "x.ipynb", tmp_path / "x.html")


def test_a_panels_title_that_repeats_the_heading_above_it_is_left_out(tmp_path):
    code = "from IPython.display import HTML\nHTML('<h2>{}</h2><p>first</p><h2>Other</h2>')"
    cells = [code.format("A title"), code.format("Other")]
    text = write_report(notebook(tmp_path, *cells), tmp_path / "n.html").read_text()
    assert text.count("<h1>A title</h1>") == 1
    assert "<h2>A title</h2>" not in text
    assert text.count("<h2>Other</h2>") == 1
    assert text.count("<p>first</p>") == 2


def test_settings_reach_the_code_of_a_notebook(tmp_path):
    target = write_report(
        notebook(tmp_path, "print(settings['rate_per_s'])"), tmp_path / "n.html", {"rate_per_s": "123.5"}
    )
    assert "123.5" in target.read_text()
