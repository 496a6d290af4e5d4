"""Host time and factors of steps with which simulated closed loops come nearest to measured ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import numpy.typing as npt

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext
from workbench.estimate.load_constants import LoadConstants
from workbench.estimate.machine import Machine
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.costs import FRONT, TabulatedCost, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.summary import summary

Floats = npt.NDArray[np.float64]
ROUNDS, LEAST_REQUESTS = 6, 12  # requests of each user that are simulated, and of all
TOWARDS_START = 0.02  # of an error in the logarithm of a time, for the same change of a constant
STARTS_S = (FRONT.base_s, 10 * FRONT.base_s)
STARTS, ROUNDS_OF_SEARCH, EVALUATIONS = (
    3,
    12,
    80,
)  # searches from the best places to start, rounds of each, and steps after the best one
DIFFERENCE = 0.03  # of a logarithm, for slopes
LEAST_PART = 0.05  # of a measured TTFT that is the prompt's, where a search starts


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLoad:
    """Medians of a closed loop of requests of one length."""

    users: int
    input_tokens: int
    output_tokens: int
    ttft_p50_s: float
    tpot_p50_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadError:
    """Simulated over measured medians of a load, less 1."""

    load: MeasuredLoad
    ttft_before_fraction: float
    tpot_before_fraction: float
    ttft_after_fraction: float
    tpot_after_fraction: float


def fitted_loads(
    model: ModelSpec,
    precision: str,
    machine: Machine,
    loads: Sequence[MeasuredLoad],
    *,
    cache_tokens: int,
    sources: Sequence[str] = (),
) -> tuple[LoadConstants, list[LoadError]]:
    """Return the constants that loads are fitted to, and the errors of each before and after.

    Args:
        model: What is served.
        precision: Number format of its linear layers.
        machine: One replica's devices; what earlier loads said is left out.
        loads: Closed loops; of one user with short prompts, and of several, which separates host time from steps.
        cache_tokens: Room of the server's cache.
        sources: Ids of the runs.
    """
    from scipy.optimize import least_squares, minimize

    if not loads:
        raise InvalidSpec(gettext("No load was measured."), remedy=gettext("Give one or more."))
    plain = replace(machine, load=None)
    costs = [
        step_cost(model, precision, plain, context_tokens=load.input_tokens + load.output_tokens // 2) for load in loads
    ]

    def logs(theta: Floats) -> Floats:
        """Logarithms of simulated over measured TTFT and TPOT of each load."""
        front_s, *factors = np.exp(theta)
        pairs = [
            _medians(load, cost.fitted(*factors), front_s, cache_tokens)
            for load, cost in zip(loads, costs, strict=True)
        ]
        off: Floats = np.log(np.array(pairs) / measured)
        return off

    def residuals(theta: Floats) -> Floats:
        off: Floats = np.append(logs(theta).ravel(), TOWARDS_START * theta[1:])
        return off

    def loss(theta: Floats) -> float:
        return float(np.sum(residuals(theta) ** 2))

    measured = np.array([(load.ttft_p50_s, load.tpot_p50_s) for load in loads])
    plain_logs = logs(np.array([log(FRONT.base_s), 0.0, 0.0, 0.0]))
    starts = sorted(_starts(loads, plain_logs), key=loss)[:STARTS]
    searched = [
        least_squares(residuals, first, diff_step=DIFFERENCE, x_scale=1.0, max_nfev=ROUNDS_OF_SEARCH)
        for first in starts
    ]
    near = min(searched, key=lambda r: float(r.cost)).x
    options = {"initial_simplex": near + np.vstack([np.zeros(4), 0.1 * np.eye(4)]), "maxfev": EVALUATIONS}
    theta = minimize(loss, near, method="Nelder-Mead", options=options).x
    after_logs = logs(theta)
    before, after = np.exp(plain_logs) - 1, np.exp(after_logs) - 1
    front_s, step, prompt, sequence = (float(v) for v in np.exp(theta))
    ttft_off, tpot_off = (float(v) for v in np.sqrt(np.mean(after_logs**2, axis=0)))
    constants = LoadConstants(
        device_id=machine.known.device_id,
        front_s=front_s,
        step_ratio=step,
        prompt_ratio=prompt,
        sequence_ratio=sequence,
        ttft_log_error=ttft_off,
        tpot_log_error=tpot_off,
        sources=tuple(sources),
    )
    return constants, [
        LoadError(
            load=load,
            ttft_before_fraction=float(b[0]),
            tpot_before_fraction=float(b[1]),
            ttft_after_fraction=float(a[0]),
            tpot_after_fraction=float(a[1]),
        )
        for load, b, a in zip(loads, before, after, strict=True)
    ]


def _medians(load: MeasuredLoad, cost: TabulatedCost, front_s: float, cache_tokens: int) -> tuple[float, float]:
    lengths = [(load.input_tokens, load.output_tokens)] * max(LEAST_REQUESTS, ROUNDS * load.users)
    limits = EngineLimits(
        max_sequences=max(256, load.users),
        cache_tokens=max(cache_tokens, load.input_tokens + load.output_tokens),
        front=replace(FRONT, base_s=front_s),
    )
    done = closed_loop(load.users, lengths, cost, limits)
    service = summary(done.answers, done.arrivals, ttft_s=1.0, tpot_s=1.0)
    return service.ttft_s.p50 or front_s, service.tpot_s.p50 or 1e-9


def _starts(loads: Sequence[MeasuredLoad], plain_logs: Floats) -> list[Floats]:
    """Return places from which to search: constants as predicted, and those that the load of the fewest users suggests."""
    fewest = min(load.users for load in loads)
    alone = [i for i, load in enumerate(loads) if load.users == fewest]
    longest = max(alone, key=lambda i: loads[i].input_tokens)
    predicted_s = float(np.exp(plain_logs[longest, 0])) * loads[longest].ttft_p50_s
    step = -float(np.median(plain_logs[alone, 1]))
    found = []
    for front_s in (*STARTS_S, 0.5 * min(load.ttft_p50_s for load in loads)):
        left_s = max(loads[longest].ttft_p50_s - front_s, LEAST_PART * loads[longest].ttft_p50_s)
        prompt = log(left_s / max(predicted_s - FRONT.base_s, 1e-6))
        found += [np.array([log(front_s), *rest, 0.0]) for rest in ((0.0, 0.0), (step, prompt))]
    return found
