"""How quantities are shown: three significant digits and a thin unit."""

GIB = 2**30
MIB = 2**20
NOT_KNOWN = "–"


def three_digits(value: float | None) -> str:
    """A number with three significant digits and no exponent between 0.001 and 1e6.

    >>> [three_digits(v) for v in (0.00012345, 4.9284, 31942.0, 0.0, None)]
    ['1.23e-4', '4.93', '31900', '0', '–']
    """
    if value is None:
        return NOT_KNOWN
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    rounded = float(f"{value:.2e}")
    decimals = max(0, 2 - int(f"{rounded:e}".split("e")[1]))
    return f"{rounded:.{decimals}f}"


def shown_bytes(n_bytes: float | None) -> str:
    """Memory in MiB below one GiB and in GiB above."""
    if n_bytes is None:
        return NOT_KNOWN
    return f"{three_digits(n_bytes / GIB)} GiB" if n_bytes >= GIB else f"{three_digits(n_bytes / MIB)} MiB"


def shown_duration(seconds: float | None) -> str:
    """Time in the unit a reader would say it in."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 1e-3:
        return f"{three_digits(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{three_digits(seconds * 1e3)} ms"
    if seconds < 60:
        return f"{three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shown_percent(fraction: float | None, decimals: int = 0, *, sign: bool = False) -> str:
    """A share in percent, or a change, with its sign.

    >>> shown_percent(0.123), shown_percent(0.0251, 1, sign=True), shown_percent(None)
    ('12 %', '+2.5 %', '–')
    """
    return NOT_KNOWN if fraction is None else f"{100 * fraction:{'+' if sign else ''}.{decimals}f} %"


LEAST_FOR_P99 = 100
"""A p99 of fewer samples is hardly more than their largest one, and tells little of what one in a hundred exceeds: it is not shown."""


def shown_p99(seconds: float | None, *, n: int) -> str:
    """Return a p99 of ``n`` samples, or that they are too few for one.

    >>> shown_p99(0.25, n=1000), shown_p99(0.25, n=13), shown_p99(None, n=0)
    ('250 ms', 'n = 13', '–')
    """
    if seconds is None:
        return NOT_KNOWN
    return shown_duration(seconds) if n >= LEAST_FOR_P99 else f"n = {n}"


def shown_usd(usd: float) -> str:
    """Money with cents, or three significant digits below a dollar."""
    return f"{usd:,.2f}" if usd >= 1 else three_digits(usd)


def shown_cents(usd: float | None) -> str:
    """Money with cents, whatever its size."""
    return NOT_KNOWN if usd is None else f"{usd:.2f}"
