"""What all specs share: reading them back and writing them as code."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, ClassVar, Self

from workbench.core.errors import InvalidSpec


def checked_fields(kind: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The values for a spec's constructor; unknown or missing fields raise ``InvalidSpec``."""
    names = {f.name for f in fields(kind)}
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    extra, missing = sorted(set(data) - names), sorted(needed - set(data))
    if extra or missing:
        problem = f"unknown fields {', '.join(extra)}" if extra else f"no {' and no '.join(missing)}"
        raise InvalidSpec(f"This spec has {problem}.", remedy=f"Use: {', '.join(sorted(names))}.")
    return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}


def spec_code(spec: Any, *, experiment: str) -> str:
    """Python that makes a spec and runs it with ``workbench.experiments.<experiment>``."""
    kind = type(spec)
    defaults = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(spec)}
    lines = [f"    {k}={v!r}," for k, v in asdict(spec).items() if v != defaults[k]]
    return (
        f"from {kind.__module__} import {kind.__name__}\n"
        f"from workbench.experiments.{experiment} import run\n\n"
        f"spec = {kind.__name__}(\n" + "\n".join(lines) + "\n)\nresult = run(spec)\n"
    )


class Spec:
    """What a frozen dataclass needs to be the spec of an experiment: its JSON form, and itself as code."""

    __slots__ = ()
    experiment: ClassVar[str]
    """Module in ``workbench.experiments`` that measures it."""

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """A spec read back; unknown fields raise ``InvalidSpec``."""
        return cls(**checked_fields(cls, data))

    def as_code(self) -> str:
        """Python that makes this spec and runs it."""
        return spec_code(self, experiment=self.experiment)
