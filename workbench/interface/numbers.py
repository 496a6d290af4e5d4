"""Numbers with their intervals as text."""

from math import floor, log10

from workbench.core.statistics import Interval
from workbench.core.units import three_digits

NEGLIGIBLE = 1e-5  # below this a difference is shown as such, not with digits


def with_ends(interval: Interval) -> str:
    """Return a value with the ends of its 95 % interval: 0.0062 [0.0058, 0.0066]."""
    value, low, high = map(three_digits, (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def interval_text(value: Interval, factor: float = 1.0, *, sign: bool = False) -> tuple[str, str, str]:
    """Return a value and half its interval, to the digits that the interval supports, and their common exponent.

    The half is "" where both are negligible.
    """
    shown, half = value.value * factor, value.half_width * factor
    plus = "+" if sign and shown > 0 else ""
    if abs(shown) + half < NEGLIGIBLE:
        return ("0" if shown == half == 0 else f"< {NEGLIGIBLE:.0e}"), "", ""
    exponent = floor(log10(max(abs(shown), half)))
    if exponent < -3:
        scale = 10.0**exponent
        return f"{plus}{shown / scale:.2f}", f"{half / scale:.2f}", f" e{exponent}"
    decimals = max(0, 1 - floor(log10(half))) if half else 2
    return f"{plus}{shown:.{decimals}f}", f"{half:.{decimals}f}", ""
