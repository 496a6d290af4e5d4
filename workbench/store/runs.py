"""Stored runs in SQLite (write-ahead log), with JSON files as the form to share them in."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from workbench.core.errors import StoreError, system_message
from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.store.decoding import run_from_json

BUSY_TIMEOUT_S = 30
SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, device TEXT NOT NULL,
    finished_at TEXT NOT NULL, document TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_time ON runs (kind, finished_at);
"""


class RunStore:
    """The runs in one file. Every call opens and closes it, so that a killed process holds no lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                gettext("The folder {folder} cannot be made: {error}.").format(
                    folder=path.parent, error=system_message(error)
                ),
                remedy=gettext("Set WORKBENCH_HOME to a writable folder."),
            ) from error
        with self._open() as db:
            db.executescript(SCHEMA)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)
            try:
                db.execute("PRAGMA journal_mode=WAL")
                with db:
                    yield db
            finally:
                db.close()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                gettext("The run store {path} cannot be used: {error}.").format(path=self.path, error=error),
                remedy=gettext(
                    "Free disk space, or move the file away if it is damaged; runs can be imported again from JSON."
                ),
            ) from error

    def add(self, run: Run) -> None:
        """Keep a run; a run with the same id is replaced."""
        row = (run.id, run.kind, str(run.spec.get("model", "")), run.environment.device, run.finished_at, run.to_json())
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", row)

    def get(self, run_id: str) -> Run:
        """The run with an id; raises ``StoreError`` when there is none."""
        with self._open() as db:
            row = db.execute("SELECT document FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise StoreError(
                gettext("There is no stored run {id}.").format(id=run_id),
                remedy=gettext("`workbench runs list` shows what there is."),
            )
        return run_from_json(row[0], source=f"The run store {self.path}")

    def has(self, run_id: str) -> bool:
        """Whether a run is stored."""
        with self._open() as db:
            return db.execute("SELECT 1 FROM runs WHERE id = ?", (run_id,)).fetchone() is not None

    def newest(self, kind: str | None = None, *, limit: int = 50) -> list[Run]:
        """Return the runs of a kind, or of all kinds, newest first; at most ``limit`` of each kind."""
        query = """SELECT document FROM (SELECT *, rowid AS place, row_number() OVER
            (PARTITION BY kind ORDER BY finished_at DESC, rowid DESC) AS age FROM runs)
            WHERE age <= :limit AND (:kind IS NULL OR kind = :kind) ORDER BY finished_at DESC, place DESC"""
        with self._open() as db:
            rows = db.execute(query, {"kind": kind, "limit": limit}).fetchall()
        return [run_from_json(row[0], source=f"The run store {self.path}") for row in rows]

    def delete(self, run_id: str) -> None:
        """Remove a run from the store."""
        with self._open() as db:
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))


def read_run_file(path: Path) -> Run:
    """A run from a JSON file; raises ``StoreError``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            gettext("{path} cannot be read: {error}.").format(path=path, error=system_message(error)),
            remedy=gettext("Name a file that `workbench runs export` wrote."),
        ) from error
    return run_from_json(text, source=str(path))


@cache
def runs_in_folder(folder: Path) -> tuple[Run, ...]:
    """All runs that lie as JSON files in a folder, newest first."""
    runs = [read_run_file(path) for path in sorted(folder.glob("*.json"))]
    return tuple(sorted(runs, key=lambda r: r.finished_at, reverse=True))
