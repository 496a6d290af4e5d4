"""What all specs share: reading them back, writing them as code, and where the measurement of one lies."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from typing import Any, ClassVar, Self

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext


def default_of(field: "Field[Any]") -> Any:
    """The default of a field; ``MISSING`` when it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


class Spec:
    """Base of the frozen dataclasses that say what to measure; the same spec always means the same measurement.

    The measurement of the spec in ``<folder>/spec.py`` is the function ``measure`` of ``<folder>/measure``.
    """

    __slots__ = ()
    kind: ClassVar[str]
    """What the runs of this spec are called in the store."""
    command: ClassVar[str]
    """Words after ``workbench`` that ask for this spec on a command line."""
    computed_by: ClassVar[str]
    """Function of ``<folder>/findings`` that answers a spec which is not measured."""

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON values."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the spec that a JSON object describes; unknown or missing fields raise ``InvalidSpec``."""
        known: dict[str, Field[Any]] = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
        extra = sorted(set(data) - set(known))
        missing = sorted(n for n, f in known.items() if default_of(f) is MISSING and n not in data)
        if extra or missing:
            problem = (
                gettext("This spec has unknown fields {names}.") if extra else gettext("This spec has no {names}.")
            )
            raise InvalidSpec(
                problem.format(names=", ".join(extra) or gettext(" and no ").join(missing)),
                remedy=gettext("Use: {names}.").format(names=", ".join(sorted(known))),
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items()})

    @classmethod
    def stored(cls, data: Mapping[str, Any]) -> Self:
        """Return the spec of a stored run: not checked again, since files that it names may be gone.

        Fields that are missing have their defaults, or None; unknown ones are left out.
        """
        spec = object.__new__(cls)
        for field in fields(cls):  # type: ignore[arg-type]
            default = default_of(field)
            value = data.get(field.name, None if default is MISSING else default)
            object.__setattr__(spec, field.name, tuple(value) if isinstance(value, list) else value)
        return spec

    def changed(self) -> dict[str, Any]:
        """Return the fields that differ from their defaults, by name."""
        return {
            f.name: value
            for f in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, f.name)) != default_of(f)
        }

    def as_code(self) -> str:
        """Return Python that makes this spec and runs it."""
        name = type(self).__name__
        lines = "".join(f"    {k}={v!r},\n" for k, v in self.changed().items())
        made = f"from {type(self).__module__} import {name}\n", f"\nspec = {name}(\n{lines})\n"
        if not hasattr(self, "kind"):
            if not hasattr(self, "computed_by"):
                return "".join(made)
            place = type(self).__module__.removesuffix("spec") + "findings"
            return f"from {place} import {self.computed_by}\n{''.join(made)}result = {self.computed_by}(spec)\n"
        return f"{made[0]}from workbench.measuring.envelope import run\n{made[1]}result = run(spec)\n"
