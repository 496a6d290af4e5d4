"""When requests are due and how long they are."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.core.traces import Trace, read_trace
from workbench.load.messages import Schedule
from workbench.load.spec import LoadSpec

Floats = npt.NDArray[np.float64]
MAX_REQUESTS = 1_000_000
CLOSED_LENGTHS = 10_000
"""Lengths that a closed loop draws; after the last they begin anew, with other prompts."""


def schedule(spec: LoadSpec) -> Schedule:
    """Return when the requests of a spec are due, in that order, and how long they are."""
    rng = np.random.default_rng(spec.seed)
    trace = trace_of(spec)
    if trace is not None:
        return _replayed(spec, trace)
    due: tuple[float, ...] | None = None
    if spec.arrivals != "closed":
        due = tuple(_due_times(spec, rng).tolist())
        if not due:
            nothing = gettext("{rate} requests/s for {seconds} s send nothing.").format(
                rate=spec.rate_per_s, seconds=spec.duration_s
            )
            raise InvalidSpec(nothing, remedy=gettext("Raise the rate or the duration."))
    n = CLOSED_LENGTHS if due is None else len(due)
    inputs = _lengths(spec.input_tokens, spec.input_cv, n, rng).tolist()
    outputs = _lengths(spec.output_tokens, spec.output_cv, n, rng).tolist()
    return Schedule(due_s=due, input_tokens=tuple(inputs), output_tokens=tuple(outputs))


def trace_of(spec: LoadSpec) -> Trace | None:
    """Return the trace that a spec replays; None where it draws its requests."""
    if spec.arrivals != "trace" or spec.trace is None:
        return None
    return read_trace(Path(spec.trace), speed=spec.trace_speed)


def _replayed(spec: LoadSpec, trace: Trace) -> Schedule:
    """Return the requests of a trace up to the end of the load, with the blocks that their prompts are made of."""
    if trace.has_hash_ids and (spec.shared_prefix_tokens or not spec.unique_prefix):
        raise InvalidSpec(
            gettext("The trace {trace} has hash ids, which say what prompts share.").format(trace=spec.trace),
            remedy=gettext("Leave shared prefix and repeated prompts out."),
        )
    planned = [a for a in trace.arrivals if a.at_s < spec.duration_s]
    return Schedule(
        due_s=tuple(a.at_s for a in planned),
        input_tokens=tuple(a.input_tokens for a in planned),
        output_tokens=tuple(a.output_tokens for a in planned),
        hash_ids=tuple(a.hash_ids for a in planned) if trace.has_hash_ids else (),
        block_tokens=planned[0].block_tokens,
    )


def n_left_out(spec: LoadSpec, trace: Trace | None) -> int:
    """Return how many requests of a trace come after the end of the load."""
    return 0 if trace is None else sum(a.at_s >= spec.duration_s for a in trace.arrivals)


def _due_times(spec: LoadSpec, rng: np.random.Generator) -> Floats:
    rate, duration = spec.rate_per_s, spec.duration_s
    top = max(rate, spec.end_rate_per_s or 0.0)
    if top * duration > MAX_REQUESTS:
        raise InvalidSpec(
            gettext("{n} requests are too many for one run.").format(n=f"{top * duration:.0f}"),
            remedy=gettext("Shorten the run."),
        )
    if spec.arrivals == "constant":
        return np.arange(round(rate * duration)) / rate
    if spec.arrivals == "ramp":  # thinning of a Poisson process, Lewis and Shedler 1979
        assert spec.end_rate_per_s is not None
        candidates = _until(rng.exponential(1 / top, _enough(top * duration)), duration)
        rates = rate + (spec.end_rate_per_s - rate) * candidates / duration
        return candidates[rng.random(candidates.size) < rates / top]
    shape = 1.0 if spec.arrivals == "poisson" else spec.gamma_cv**-2
    return _until(rng.gamma(shape, 1 / (rate * shape), _enough(rate * duration, spec.gamma_cv)), duration)


def _enough(mean: float, cv: float = 1.0) -> int:
    return int(mean + 10 * max(1.0, cv) * np.sqrt(mean) + 50 * max(1.0, cv))


def _until(gaps: Floats, duration: float) -> Floats:
    times: Floats = np.cumsum(gaps)
    return times[times < duration]


def _lengths(mean: int, cv: float, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    if cv <= 0:
        return np.full(n, mean)
    sigma = np.sqrt(np.log1p(cv**2))
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n)
    return np.maximum(1, np.round(drawn)).astype(np.int64)
