"""Every kind of run, found by its spec: each ``spec.py`` of the package, wherever it lies; ``rows.py`` beside it says what it holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.rows import Row, Samples
from workbench.core.specs import Spec

PACKAGE = Path(__file__).parents[1]


@cache
def spec_classes() -> Mapping[str, type[Spec]]:
    """Return the spec classes by the kind of their runs."""
    known: dict[str, type[Spec]] = {}
    for file in sorted(PACKAGE.rglob("spec.py")):
        module = import_module(".".join([PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts]))
        for value in vars(module).values():
            is_own = isinstance(value, type) and issubclass(value, Spec) and value.__module__ == module.__name__
            if is_own and hasattr(value, "kind"):
                assert value.kind not in known, f"{value.kind} is measured twice"
                known[value.kind] = value
    return known


def spec_class(kind: str) -> type[Spec]:
    """Return the spec class of a kind of run; raises ``InvalidSpec`` for a kind that nothing measures."""
    if kind not in spec_classes():
        raise InvalidSpec(
            gettext("{kind} is no kind of run.").format(kind=repr(kind)),
            remedy=gettext("Known: {names}.").format(names=", ".join(sorted(spec_classes()))),
        )
    return spec_classes()[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the runs of a kind hold."""

    rows: Mapping[str, type[Row]]
    """Class of the rows by their ``part``."""
    samples: type[Samples]


@cache
def contents(kind: str) -> Contents:
    """Return what the runs of a kind hold: ``ROWS`` and ``SAMPLES`` of ``rows.py`` beside the spec.

    Raises:
        InvalidSpec: Nothing measures this kind.
    """
    module = import_module(spec_class(kind).__module__.removesuffix("spec") + "rows")
    return Contents(rows={row.part: row for row in module.ROWS}, samples=getattr(module, "SAMPLES", Samples))
