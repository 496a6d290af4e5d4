"""A load run and its simulation side by side: the same requests at the same moments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import MEASURED
from workbench.core.runs import Run
from workbench.core.traffic import Arrival
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.machine import Machine, Split
from workbench.estimate.prediction import Z
from workbench.load.rows import KeptRequest, LoadSamples
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.costs import (
    FRONT,
    TPOT_SIGMA,
    TTFT_SIGMA,
    load_log_errors,
    step_cost,
)
from workbench.simulate.engine import Engine, EngineLimits
from workbench.simulate.step_cost import StepCost
from workbench.simulate.summary import Service, summary, with_interval
from workbench.store.runs import read_run_file

COMPARED: Mapping[str, Callable[[Service], float | None]] = {
    "ttft_p50_s": lambda s: s.ttft_s.p50,
    "ttft_p99_s": lambda s: s.ttft_s.p99,
    "tpot_p50_s": lambda s: s.tpot_s.p50,
    "tpot_p99_s": lambda s: s.tpot_s.p99,
    "goodput_requests_per_s": lambda s: s.goodput_requests_per_s,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure of a load run, measured and simulated with the ends of its interval."""

    name: str
    measured: float
    simulated: float
    low: float
    high: float

    @property
    def error_fraction(self) -> float:
        """Error of the simulation as a share of the measured value."""
        return self.simulated / self.measured - 1 if self.measured else float("nan")


def arrivals_of(run: Run) -> list[Arrival]:
    """Return the requests of a load run that were answered: when they were due, and their lengths."""
    return [Arrival(q.due_s, q.input_tokens, q.output_tokens) for q in answered(run)]


def answered(run: Run) -> list[KeptRequest]:
    """Return the requests with whole answers."""
    return [q for q in run.sampled(LoadSamples).requests if not q.error and q.output_tokens >= 1]


def measured_summary(run: Run, *, ttft_s: float, tpot_s: float) -> dict[str, float]:
    """Return percentiles of TTFT from due on and of TPOT, and goodput, of a run."""
    asked = answered(run)
    ttft = np.array([q.first_content_s - q.due_s for q in asked])
    # After a first chunk of one token; vLLM may put several in one chunk, so ends are taken.
    tpot = np.array([(last_s(q) - q.first_content_s) / max(1, q.output_tokens - 1) for q in asked])
    several = np.array([q.output_tokens > 1 for q in asked])
    span = float(max(q.end_s for q in asked) - min(q.due_s for q in asked))
    good = (ttft <= ttft_s) & ((tpot <= tpot_s) | ~several)
    figures = {f"ttft_p{q}_s": float(np.quantile(ttft, q / 100)) for q in (50, 99)}
    figures |= {f"tpot_p{q}_s": float(np.quantile(tpot[several], q / 100)) for q in (50, 99)}
    return figures | {"goodput_requests_per_s": float(np.sum(good)) / span}


MAX_SEQUENCES = 256
CACHE_TOKENS = {
    ("llama-3.1-8b-shape", "h200"): 896_912,
    ("llama-3.1-8b-shape", "h100"): 462_944,
    ("mistral-small-24b-shape", "h200"): 523_824,
    ("mistral-small-24b-shape", "2-h200"): 1_383_600,
    ("qwen2.5-32b-shape", "h200"): 373_520,
    ("mixtral-8x7b-shape", "h200"): 321_264,
    ("gemma-3-12b-text-shape", "h200"): 284_062,
    ("llama-3.1-70b-shape", "4-h200"): 79_344,
    ("mixtral-8x7b-shape", "4-h200"): 106_800,
}
"""Room of the server's cache, as vLLM printed."""
SIGMAS = {"ttft_p50_s": TTFT_SIGMA, "ttft_p99_s": TTFT_SIGMA, "tpot_p50_s": TPOT_SIGMA, "tpot_p99_s": TPOT_SIGMA}


def last_s(request: KeptRequest) -> float:
    """Return the arrival of the last token."""
    if request.last_content_s is not None:
        return request.last_content_s
    return request.first_content_s + sum(request.gaps_us) / 1e6


def beside_vllm(
    run: Run,
    model: ModelSpec,
    machine: Machine,
    *,
    cache_tokens: int,
    ttft_s: float,
    tpot_s: float,
    precision: str = "bf16",
) -> list[Compared]:
    """Return each compared figure of a load run of a model; ``cache_tokens`` is the room of the server's cache."""
    arrivals = arrivals_of(run)
    measured = measured_summary(run, ttft_s=ttft_s, tpot_s=tpot_s)
    context = int(np.mean([a.input_tokens + a.output_tokens / 2 for a in arrivals]))
    cost = step_cost(model, precision, machine, context_tokens=context)

    limits = EngineLimits(
        max_sequences=MAX_SEQUENCES,
        cache_tokens=cache_tokens,
        front=FRONT,
    )

    def run_with(cost: StepCost) -> Service:
        sent, answers = arrivals, ()
        if run.spec["arrivals"] == "closed":  # users send when they have their answers
            lengths = [(a.input_tokens, a.output_tokens) for a in arrivals]
            done = closed_loop(int(run.spec["concurrency"]), lengths, cost, limits)
            sent, answers = list(done.arrivals), done.answers
        else:
            answers = Engine(cost, limits).run(arrivals)
        return summary(answers, sent, ttft_s=ttft_s, tpot_s=tpot_s)

    step, prompt = load_log_errors(model, precision, machine, is_own=True)
    simulated = with_interval(run_with, cost, log_error_step=Z * step, log_error_prompt=Z * prompt)
    rows = []
    for name, number in COMPARED.items():
        low, high = simulated.ends(number)
        if name in SIGMAS:
            interval = simulated.interval(number, Z * SIGMAS[name])
            low, high = interval.low, interval.high
        value = number(simulated.simulated)
        rows.append(Compared(name=name, measured=measured[name], simulated=value, low=low, high=high))
    return rows


@cache
def beside_measured(name: str, *, ttft_s: float = 0.5, tpot_s: float = 0.03) -> list[Compared]:
    """Return the compared figures of a load run that ships, named ``load_SHAPE_...[fp8_]..._DEVICE``."""
    run = read_run_file(MEASURED / f"load_{name}.json")
    shape, *words, device = name.split("_")
    n_devices, _, kind = device.rpartition("-")
    machine, is_own = machine_of(f"{kind}-sxm")
    assert is_own
    return beside_vllm(
        run,
        model_spec_from(f"data/models/{shape}"),
        replace(machine, split=Split(tensor=int(n_devices or 1))),
        cache_tokens=CACHE_TOKENS[shape, device],
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        precision="fp8" if "fp8" in words else "bf16",
    )


def measured_names() -> list[str]:
    """Return the names of the load runs that ship."""
    return [f.stem.removeprefix("load_") for f in sorted(MEASURED.glob("load_*.json"))]
