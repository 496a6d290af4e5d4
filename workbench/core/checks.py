"""Checks that frozen dataclasses run on themselves."""

from typing import Any

from workbench.core.errors import InvalidSpec


def require_positive(spec: Any, *names: str) -> None:
    """Raise ``InvalidSpec`` unless each named field is a number above zero."""
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise InvalidSpec(f"{type(spec).__name__}.{name} is {value!r}.", remedy="Give a number above zero.")


def require_fraction(spec: Any, *names: str) -> None:
    """Raise ``InvalidSpec`` unless each named field lies above 0 and at most at 1."""
    for name in names:
        value = getattr(spec, name)
        if not isinstance(value, int | float) or not 0 < value <= 1:
            raise InvalidSpec(f"{type(spec).__name__}.{name} is {value!r}.", remedy="Give a share above 0 and up to 1.")
