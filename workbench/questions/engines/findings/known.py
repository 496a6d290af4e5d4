"""What the catalogue knows of engines: figures that others published, and features."""

from workbench.catalog.tables import devices, engines, published_figures
from workbench.core.language import gettext
from workbench.core.provenance import Provenance
from workbench.core.units import three_digits

PUBLISHED_HEAD = (
    gettext("Engine"),
    gettext("Published {mark}").format(mark=Provenance.PUBLISHED.mark),
    gettext("under"),
    gettext("source"),
)
FEATURE_HEAD = (
    gettext("Engine"),
    gettext("version"),
    gettext("quantization"),
    gettext("parallelism"),
    gettext("multimodal"),
    gettext("hardware"),
    gettext("started"),
    gettext("get it"),
    gettext("source"),
)


def published_rows() -> list[tuple[str, ...]]:
    """Return the cells of ``PUBLISHED_HEAD`` for each published figure of an engine."""
    names = {e.id: e.name for e in engines()}
    return [
        (
            names[f.engine],
            f"{three_digits(f.value)} {gettext(f.unit)}",
            f"{f.model}, {devices()[f.device_id].name}, {gettext(f.condition)}",
            f"{f.source}, {f.date}",
        )
        for f in published_figures()
    ]


def feature_rows() -> list[tuple[str, ...]]:
    """Return the cells of ``FEATURE_HEAD`` for each engine of the catalogue."""
    return [
        (
            e.name,
            e.tested_version,
            *map(gettext, (e.quantization, e.parallelism, e.multimodal, e.hardware, e.started, e.install)),
            f"{gettext(e.source)}, {e.date}",
        )
        for e in engines()
    ]
