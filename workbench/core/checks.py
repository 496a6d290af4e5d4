"""Checks that frozen dataclasses run on themselves."""

from collections.abc import Collection

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext


def require_positive(spec: object, *names: str) -> None:
    """Raise ``InvalidSpec`` unless each named field is a number above zero."""
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise _refusal(spec, name, gettext("Give a number above zero."))


def require_fraction(spec: object, *names: str) -> None:
    """Raise ``InvalidSpec`` unless each named field lies above 0 and at most at 1."""
    for name in names:
        value = getattr(spec, name)
        if not isinstance(value, int | float) or not 0 < value <= 1:
            raise _refusal(spec, name, gettext("Give a share above 0 and up to 1."))


def require_each(spec: object, *names: str, least: int = 1) -> None:
    """Raise ``InvalidSpec`` unless each named field has values and all of them are ``least`` or more."""
    for name in names:
        values = getattr(spec, name)
        if not values or any(value < least for value in values):
            raise _refusal(spec, name, gettext("Give numbers from {least} on.").format(least=least))


def require_known(what: str, names: Collection[str], known: Collection[str]) -> None:
    """Raise ``InvalidSpec`` unless there are names and each is a known one; ``what`` they name, in the plural, in the reader's language."""
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown or not names:
        cause = gettext("Unknown {what}: {names}.") if unknown else gettext("No {what} are chosen.")
        remedy = gettext("Use: {names}.").format(names=", ".join(known))
        raise InvalidSpec(cause.format(what=what, names=", ".join(unknown)), remedy=remedy)


def _refusal(spec: object, name: str, remedy: str) -> InvalidSpec:
    place = f"{type(spec).__name__}.{name}"
    cause = gettext("{place} is {value}.").format(place=place, value=repr(getattr(spec, name)))
    return InvalidSpec(cause, remedy=remedy)
