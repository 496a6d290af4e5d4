"""Host time and factors of steps with which simulated closed loops come nearest to measured ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

import numpy as np
import numpy.typing as npt

from workbench.catalog.model_spec import ModelSpec
from workbench.core.errors import InvalidSpec
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
EVALUATIONS = 160


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
    from scipy.optimize import minimize

    if not loads:
        raise InvalidSpec("No load was measured.", remedy="Give one or more.")
    plain = replace(machine, load=None)
    costs = [
        step_cost(model, precision, plain, context_tokens=load.input_tokens + load.output_tokens // 2) for load in loads
    ]

    def logs(theta: Floats) -> Floats:
        """Logarithms of simulated over measured TTFT and TPOT of each load."""
        front_s, step, prompt = np.exp(theta)
        pairs = [
            _medians(load, cost.scaled(step, prompt), front_s, cache_tokens)
            for load, cost in zip(loads, costs, strict=True)
        ]
        measured = [(load.ttft_p50_s, load.tpot_p50_s) for load in loads]
        off: Floats = np.log(np.array(pairs) / np.array(measured))
        return off

    def loss(theta: Floats) -> float:
        return float(np.sum(logs(theta) ** 2) + TOWARDS_START**2 * np.sum(theta[1:] ** 2))

    found = []
    for front_s in STARTS_S:
        first = np.array([log(front_s), 0.0, 0.0])
        simplex = np.vstack([first, first + np.diag([0.7, 0.2, 0.2])])
        options = {"initial_simplex": simplex, "maxfev": EVALUATIONS, "xatol": 0.005, "fatol": 1e-6}
        found.append(minimize(loss, first, method="Nelder-Mead", options=options))
    theta = min(found, key=lambda r: float(r.fun)).x
    before, after = np.exp(logs(np.array([log(FRONT.base_s), 0.0, 0.0]))) - 1, np.exp(logs(theta)) - 1
    front_s, step, prompt = (float(v) for v in np.exp(theta))
    constants = LoadConstants(
        device_id=machine.known.device_id, front_s=front_s, step_ratio=step, prompt_ratio=prompt, sources=tuple(sources)
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
