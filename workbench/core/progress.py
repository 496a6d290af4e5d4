"""What a running measurement hands up: its progress."""

from dataclasses import dataclass

SCRATCH = "scratch"  # folder of a measurement that may be deleted whenever the measurement does not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a measurement is, in units of about equal time, with a partial result now and then."""

    step: str
    done: float
    total: float
    result: object = None
    """A dataclass of what is new, for whoever looks on; None: nothing."""
