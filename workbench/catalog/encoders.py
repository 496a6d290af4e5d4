"""Encoders: the rows of ``data/models.csv`` that keep no KV cache and generate nothing."""

import csv
import re
from functools import cache

from workbench.catalog.paths import DATA
from workbench.core.encoders import EncoderSpec
from workbench.core.errors import NotAModel


@cache
def catalog_encoders() -> dict[str, EncoderSpec]:
    """Embedding models and classifiers of pictures, by name."""
    with (DATA / "models.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["model"]: EncoderSpec(
                name=row["model"],
                architecture=row["architecture"],
                n_params=int(row["params_total"]),
                n_layers=_whole(row["layers"]),
                hidden=_whole(row["hidden"]),
                intermediate=_whole(row["intermediate"]),
                most_tokens=_whole(row["max_context"]),
                flop_per_input=_noted_flop(row["note"]),
                source=f"{row['provenance']}: {row['source']}",
            )
            for row in csv.DictReader(file)
            if row["attention"] in {"encoder", "CNN"}
        }


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def _noted_flop(note: str) -> float | None:
    """Two operations for each of the noted multiply-accumulates."""
    found = re.search(r"([\d.]+) GMACs", note)
    return 2e9 * float(found.group(1)) if found else None


def encoder(name: str) -> EncoderSpec:
    """The row of a name; raises ``NotAModel`` with the known names."""
    try:
        return catalog_encoders()[name]
    except KeyError:
        raise NotAModel(
            f"No encoder of the name {name!r} is known.", remedy=f"Choose from: {', '.join(catalog_encoders())}."
        ) from None
