"""Vision encoders: rows of ``data/vision.csv``."""

from dataclasses import dataclass
from functools import cache

from workbench.catalog.csv_rows import rows_of
from workbench.catalog.tables import row_named
from workbench.catalog.vision_spec import TokenRule, VisionSpec
from workbench.core.language import gettext


@dataclass(frozen=True, slots=True, kw_only=True)
class _VisionRow:
    """A line of ``vision.csv``, as it stands there."""

    model: str
    rule: TokenRule
    patch_px: int
    merge: int
    square_px: int | None = None
    min_pixels: int | None = None
    max_pixels: int | None = None
    most: int | None = None
    layers: int
    hidden: int
    intermediate: int
    heads: int
    gated: bool
    window_px: int | None = None
    whole_layers: int | None = None
    out_hidden: int
    projectors: int
    provenance: str
    source: str


@cache
def vision_models() -> dict[str, VisionSpec]:
    """Return the vision encoders by the name of their row; many are rows of ``models.csv`` too."""
    return {
        row.model: VisionSpec(
            model=row.model,
            rule=row.rule,
            patch_px=row.patch_px,
            merge=row.merge,
            square_px=row.square_px,
            min_pixels=row.min_pixels,
            max_pixels=row.max_pixels,
            most=row.most,
            n_layers=row.layers,
            hidden=row.hidden,
            intermediate=row.intermediate,
            n_heads=row.heads,
            is_gated=row.gated,
            window_px=row.window_px,
            n_whole_layers=row.whole_layers,
            out_hidden=row.out_hidden,
            n_projectors=row.projectors,
            source=f"{row.provenance}: {row.source}",
        )
        for row in rows_of("vision.csv", _VisionRow)
    }


def vision_model(name: str) -> VisionSpec:
    """Return the row of a name; raises ``NotAModel`` with the known names."""
    return row_named(vision_models(), name, what=gettext("vision encoder"))
