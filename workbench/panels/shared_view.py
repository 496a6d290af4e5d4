"""Pieces that the views of several questions share: code, a run's label and origin, downloads."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from workbench.core.runs import Run
from workbench.core.units import shown_bytes
from workbench.figures.tables import table
from workbench.store.runs import RunStore, runs_in_folder


def runs_of_kind(kind: str, *, store: RunStore, shipped: Path) -> list[Run]:
    """Own runs of a kind and those that ship with the workbench, newest first."""
    own = store.newest(kind)
    seen = {r.id for r in own}
    others = [r for r in runs_in_folder(shipped) if r.kind == kind and r.id not in seen]
    return sorted([*own, *others], key=lambda r: r.finished_at, reverse=True)


def run_label(run: Run) -> str:
    """Model, device, time and id of a run."""
    when = run.finished_at[:16].replace("T", " ")
    return f"{Path(run.spec['model']).name} · {run.environment.device} · {when} · {run.id}"


def code_block(text: str) -> str:
    """Text to copy."""
    return f"<pre class='wb-code'>{escape(text)}</pre>"


def origin(run: Run) -> str:
    """Everything that a reader needs to trust or repeat a run."""
    env = run.environment
    packages = ", ".join(f"{k} {v}" for k, v in env.packages.items())
    rows: list[tuple[str, Any]] = [
        ("run", f"{run.id}, {run.started_at} to {run.finished_at}, seed {run.seed}"),
        (
            "machine",
            f"{env.device}; {env.cpu}, {env.n_cpus} cores, {shown_bytes(env.memory_bytes)}; "
            f"driver {env.driver or 'none'}; Python {env.python}",
        ),
        ("packages", packages),
        ("workbench revision", env.git_revision or "not known"),
        ("spec", dict(run.spec)),
    ]
    return "<h2>How these numbers came about</h2>" + table(
        ("What", "Value"), [(k, escape(str(v))) for k, v in rows], left=(1,)
    )


def download_links(run: Run, rows: Sequence[Mapping[str, Any]]) -> str:
    """The run as CSV and JSON inside links, so that they work without a server."""
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, fieldnames=columns)
    writer.writeheader()
    writer.writerows(rows)
    files = (("CSV", "text/csv", out.getvalue()), ("JSON with raw samples", "application/json", run.to_json()))
    links = [
        f"<a download='{run.kind}_{run.id}.{mime.split('/')[1]}' "
        f"href='data:{mime};base64,{base64.b64encode(text.encode()).decode()}'>{label}</a>"
        for label, mime, text in files
    ]
    return f"<p>{' · '.join(links)} · PNG: the camera above each plot</p>"
