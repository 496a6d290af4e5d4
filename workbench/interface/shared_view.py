"""Pieces that the views of several questions share: code, a run's label and origin, downloads."""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from markupsafe import Markup

from workbench.core.language import gettext
from workbench.core.runs import Run
from workbench.core.units import shown_bytes
from workbench.core.verdict import sentence
from workbench.interface.html import EMPTY, heading, joined, message_card, paragraph, table
from workbench.measuring.machine import busy_text
from workbench.store.runs import RunStore, runs_in_folder


def runs_of_kind(kind: str, *, store: RunStore, shipped: Path) -> list[Run]:
    """Own runs of a kind and those that ship with the workbench, newest first."""
    own = store.newest(kind)
    seen = {r.id for r in own}
    others = [r for r in runs_in_folder(shipped) if r.kind == kind and r.id not in seen]
    return sorted([*own, *others], key=lambda r: r.finished_at, reverse=True)


@cache
def shipped_ids(folder: Path) -> frozenset[str]:
    """Return the ids of the runs that ship with the workbench."""
    return frozenset(r.id for r in runs_in_folder(folder))


def minute_of(run: Run) -> str:
    """Return when a run ended (UTC), to the minute."""
    return run.finished_at[:16].replace("T", " ")


def place_of(run: Run) -> str:
    """Return where a run was measured, its id and its day."""
    place = gettext("on {device}, run {id}, {day}")
    return place.format(device=run.environment.device, id=run.id, day=run.day)


def busy_note(run: Run | None) -> Markup:
    """Return a caution where other processes took much of the machine while a run was measured; empty otherwise."""
    text = busy_text(run.environment.other_load_fraction) if run else None
    if text is None:
        return EMPTY
    remedy = gettext("Times may be too long and speed-ups wrong: measure again while the machine has no other work.")
    return message_card("caution", gettext("The machine was busy."), sentence([text]), remedy)


def run_label(run: Run) -> str:
    """Return the model, where the run has one, and the device, time and id of a run."""
    model = [Path(run.model).name] if run.model else []
    return " · ".join([*model, run.environment.device, minute_of(run), run.id])


def origin(run: Run) -> Markup:
    """Return everything that a reader needs to trust or repeat a run."""
    env = run.environment
    when = gettext("{id}, {start} to {end}, seed {seed}")
    where = gettext("{device}; {cpu}, {cores} cores, {memory}; driver {driver}; Python {python}").format(
        device=env.device,
        cpu=env.cpu,
        cores=env.n_cpus,
        memory=shown_bytes(env.memory_bytes),
        driver=env.driver or gettext("none"),
        python=env.python,
    )
    rows = (
        (gettext("run"), when.format(id=run.id, start=run.started_at, end=run.finished_at, seed=run.seed)),
        (gettext("machine"), where),
        (gettext("packages"), ", ".join(f"{k} {v}" for k, v in env.packages.items())),
        (gettext("workbench revision"), env.git_revision or gettext("not known")),
        (gettext("spec"), str(dict(run.spec))),
    )
    title, head = gettext("How these numbers were obtained"), (gettext("What"), gettext("Value"))
    return joined(heading(title), table(head, rows, left=(1,)))


def download_links(run: Run, rows: Sequence[Mapping[str, object]]) -> Markup:
    """Return the run as CSV and JSON inside links, so that they work without a server."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    files = (("CSV", "text/csv", out.getvalue()), (gettext("JSON with raw samples"), "application/json", run.to_json()))
    links = [
        Markup("<a download='{}' href='data:{};base64,{}'>{}</a>").format(
            f"{run.kind}_{run.id}.{mime.split('/')[1]}", mime, base64.b64encode(text.encode()).decode(), label
        )
        for label, mime, text in files
    ]
    return paragraph(Markup(" · ").join(links), " · ", gettext("PNG: the camera above each plot"))
