import json
import sqlite3
import subprocess
import sys

import pytest
from support import invented_run

from workbench.catalog.paths import MEASURED
from workbench.core.errors import StoreError
from workbench.core.runs import SCHEMA_VERSION
from workbench.store.decoding import run_from_json
from workbench.store.runs import RunStore, read_run_file, runs_in_folder


def test_a_run_comes_back_as_it_was(tmp_path):
    store, run = RunStore(tmp_path / "runs.sqlite"), invented_run()
    store.add(run)
    assert store.get(run.id) == run
    assert run_from_json(run.to_json()) == run


def test_runs_come_newest_first(tmp_path):
    store = RunStore(tmp_path / "runs.sqlite")
    for day in ("02", "01", "03"):
        store.add(invented_run(run_id=day, finished_at=f"2026-01-{day}T00:00:00+00:00"))
    assert [r.id for r in store.newest("quantization")] == ["03", "02", "01"]
    store.delete("03")
    assert not store.has("03")
    with pytest.raises(StoreError, match="no stored run 03"):
        store.get("03")


WRITER = """
import sys
from pathlib import Path
from workbench.store.runs import RunStore
from support import invented_run
store = RunStore(Path(sys.argv[1]))
for i in range(25):
    store.add(invented_run(run_id=f"{sys.argv[2]}-{i}"))
"""


def test_several_processes_write_at_once_and_nothing_is_lost(tmp_path):
    path = tmp_path / "runs.sqlite"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in "abc"]
    assert [w.wait(60) for w in writers] == [0, 0, 0]
    assert len(RunStore(path).newest("quantization", limit=100)) == 75


def test_a_damaged_store_says_so_and_keeps_the_file(tmp_path):
    path = tmp_path / "runs.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError) as caught:
        RunStore(path)
    assert "cannot be used" in caught.value.cause
    assert path.read_bytes().startswith(b"this is no database")


def test_a_full_database_raises_and_keeps_what_was_stored(tmp_path):
    path = tmp_path / "runs.sqlite"
    store = RunStore(path)
    store.add(invented_run(run_id="kept"))
    db = sqlite3.connect(path)
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.close()

    class Full(RunStore):
        def _open(self):
            from contextlib import contextmanager

            outer = super()._open()

            @contextmanager
            def limited():
                with outer as connection:
                    connection.execute(f"PRAGMA max_page_count = {pages}")
                    yield connection

            return limited()

    full = Full(path)

    def fill():
        for i in range(200):
            full.add(invented_run(run_id=f"run-{i}"))

    with pytest.raises(StoreError, match="full"):
        fill()
    assert store.get("kept").id == "kept"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema_version": 2}', "\x00"])
def test_a_file_that_is_no_run_is_refused_with_a_remedy(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(StoreError) as caught:
        read_run_file(tmp_path / "x.json")
    assert caught.value.remedy


def test_a_newer_format_is_refused():
    text = invented_run().to_json().replace('"schema_version": 2', '"schema_version": 99')
    with pytest.raises(StoreError, match="format 99"):
        run_from_json(text)


def test_shipped_runs_are_read(tmp_path):
    (tmp_path / "a.json").write_text(invented_run(run_id="a").to_json())
    assert [r.id for r in runs_in_folder(tmp_path)] == ["a"]


def test_a_store_made_by_the_version_before_is_read(tmp_path):
    store = RunStore(tmp_path / "runs.sqlite")
    shipped = [json.loads(path.read_text()) for path in sorted(MEASURED.rglob("*.json"))]
    documents = [d for d in shipped if d["schema_version"] == 1]
    assert len({d["kind"] for d in documents}) > 20
    with sqlite3.connect(store.path) as db:
        for d in documents:
            model, device = str(d["spec"].get("model", "")), d["environment"]["device"]
            row = (d["id"], d["kind"], model, device, d["finished_at"], json.dumps(d))
            db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)
    ids = {d["id"] for d in documents}
    assert {run.id for run in store.newest(limit=len(documents))} == ids
    assert {run.schema_version for run in store.newest()} == {SCHEMA_VERSION}
