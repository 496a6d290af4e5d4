"""Vision encoders: rows of ``data/vision.csv``."""

import csv
from functools import cache
from typing import cast

from workbench.catalog.paths import DATA
from workbench.core.errors import NotAModel
from workbench.core.vision import TokenRule, VisionSpec


@cache
def vision_models() -> dict[str, VisionSpec]:
    """Models that look at pictures, by the name of their row; many are rows of ``models.csv`` too."""
    with (DATA / "vision.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["model"]: VisionSpec(
                model=row["model"],
                rule=cast("TokenRule", row["rule"]),
                patch_px=int(row["patch_px"]),
                merge=int(row["merge"]),
                square_px=_whole(row["square_px"]),
                min_pixels=_whole(row["min_pixels"]),
                max_pixels=_whole(row["max_pixels"]),
                most=_whole(row["most"]),
                n_layers=int(row["layers"]),
                hidden=int(row["hidden"]),
                intermediate=int(row["intermediate"]),
                n_heads=int(row["heads"]),
                is_gated=row["gated"] == "True",
                window_px=_whole(row["window_px"]),
                n_whole_layers=_whole(row["whole_layers"]),
                out_hidden=int(row["out_hidden"]),
                n_projectors=int(row["projectors"]),
                source=f"{row['provenance']}: {row['source']}",
            )
            for row in csv.DictReader(file)
        }


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None


def vision_model(name: str) -> VisionSpec:
    """The row of a name; raises ``NotAModel`` with the known names."""
    try:
        return vision_models()[name]
    except KeyError:
        raise NotAModel(
            f"No vision encoder of {name!r} is known.", remedy=f"Choose from: {', '.join(vision_models())}."
        ) from None
