"""A load run and its simulation side by side: the same requests at the same moments."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.core.models import ModelSpec
from workbench.core.runs import Run
from workbench.core.traffic import Arrival
from workbench.estimate.machine import Machine
from workbench.estimate.prediction import Z
from workbench.simulate.costs import step_cost
from workbench.simulate.engine import Engine, EngineLimits, StepCost
from workbench.simulate.summary import summary, with_interval

COMPARED = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "goodput_requests_per_s")


def arrivals_of(run: Run) -> list[Arrival]:
    """The requests of a load run that were answered: when they were due, and their lengths."""
    return [Arrival(q["due_s"], q["input_tokens"], q["output_tokens"]) for q in answered(run)]


def answered(run: Run) -> list[dict[str, Any]]:
    """Samples of whole answers."""
    return [q for q in run.samples["requests"] if not q["error"] and q["output_tokens"] >= 1]


def measured_summary(run: Run, *, ttft_s: float, tpot_s: float) -> dict[str, float]:
    """Percentiles from due to first token and of the mean time of further tokens, and goodput, of a run."""
    asked = answered(run)
    ttft = np.array([q["first_content_s"] - q["due_s"] for q in asked])
    # After a first chunk of one token; vLLM may put several in one chunk, so ends are taken.
    tpot = np.array([(last_s(q) - q["first_content_s"]) / max(1, q["output_tokens"] - 1) for q in asked])
    several = np.array([q["output_tokens"] > 1 for q in asked])
    span = float(max(q["end_s"] for q in asked) - min(q["due_s"] for q in asked))
    kept = (ttft <= ttft_s) & ((tpot <= tpot_s) | ~several)
    told = {f"ttft_p{q}_s": float(np.quantile(ttft, q / 100)) for q in (50, 99)}
    told |= {f"tpot_p{q}_s": float(np.quantile(tpot[several], q / 100)) for q in (50, 99)}
    return told | {"goodput_requests_per_s": float(np.sum(kept)) / span}


def last_s(request: Mapping[str, Any]) -> float:
    """Arrival of the last token."""
    if "last_content_s" in request:
        return float(request["last_content_s"])
    return float(request["first_content_s"] + sum(request["gaps_us"]) / 1e6)


def beside_vllm(
    run: Run, model: ModelSpec, machine: Machine, *, cache_tokens: int, ttft_s: float, tpot_s: float
) -> list[dict[str, Any]]:
    """A row for each compared figure: measured, simulated with its interval, and the error as a share of the measured.

    Args:
        run: A load run.
        model: What was served, in bf16.
        machine: On what.
        cache_tokens: Room of the server's cache.
        ttft_s: Promise for the first token.
        tpot_s: Promise for the mean of the further ones.
    """
    arrivals = arrivals_of(run)
    measured = measured_summary(run, ttft_s=ttft_s, tpot_s=tpot_s)
    running = np.mean([a.output_tokens for a in arrivals]) * measured["tpot_p50_s"] * len(arrivals)
    batch = int(np.clip(running / max(1e-9, arrivals[-1].at_s - arrivals[0].at_s), 2, 256))
    cost = step_cost(model, "bf16", machine, batch=batch, input_tokens=int(np.mean([a.input_tokens for a in arrivals])))

    def run_with(cost: StepCost) -> dict[str, Any]:
        answers = Engine(cost, EngineLimits(cache_tokens=cache_tokens)).run(arrivals)
        return summary(answers, arrivals, ttft_s=ttft_s, tpot_s=tpot_s)

    simulated = with_interval(
        run_with,
        cost,
        log_error_step=Z * machine.known.log_error_unseen_step,
        log_error_prompt=Z * machine.known.log_error_unseen_prompt,
    )
    rows = []
    for name in COMPARED:
        error = simulated[name] / measured[name] - 1 if measured[name] else float("nan")
        rows.append(
            {
                "name": name,
                "measured": measured[name],
                "simulated": simulated[name],
                "simulated_low": simulated[f"{name}_low"],
                "simulated_high": simulated[f"{name}_high"],
                "error_fraction": error,
            }
        )
    return rows
