"""Damage of each format in each layer group alone, and of whole plans beside what adding up predicts."""

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.compress.folder import token_ids
from workbench.compress.layer_damage import LayerDamage, open_layer_damage
from workbench.core.checkpoints import LayerGroup
from workbench.core.errors import InvalidSpec
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.sensitivity import SensitivitySpec
from workbench.core.statistics import Interval, block_bootstrap
from workbench.estimate.mixed_precision import Option, Solution, random_solution, solved
from workbench.experiments.text import read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus, read_environment

KIND = "sensitivity"
N_FISHER_WINDOWS = 8
UNQUANTIZED = "bf16"
Floats = npt.NDArray[np.float64]


def run(spec: SensitivitySpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: SensitivitySpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps what was measured, so that a second call goes on from there."""
    return _Measurement(spec, folder).events()


class _Measurement:
    """The state of one measurement while it runs."""

    def __init__(self, spec: SensitivitySpec, folder: Path) -> None:
        model_spec_from(spec.model)
        self.spec, self.parts = spec, folder / "parts"
        self.parts.mkdir(parents=True, exist_ok=True)
        self.device = chosen_device(spec.device)
        self.done, self.total = 0.0, 1.0

    def _progress(self, step: str, work: float = 1.0) -> Progress:
        self.done += work
        return Progress(step=step, done=min(self.done, self.total), total=self.total)

    def _kept(self, name: str, damage: LayerDamage, plan: Mapping[str, str], windows: str) -> Floats:
        """KL of each window under a plan, measured once."""
        path = self.parts / f"{name}.json"
        if not path.exists():
            with damage.applied(plan):
                kl = damage.kl_nat(windows)
            unfinished = path.with_suffix(".part")
            unfinished.write_text(json.dumps(kl.tolist()))
            os.replace(unfinished, path)
        return np.asarray(json.loads(path.read_text()), dtype=np.float64)

    def events(self) -> Iterator[Progress | Run]:
        spec, started_at = self.spec, utc_now()
        yield self._progress("loading", 0)
        place = located(spec.model)
        evaluation = token_ids(place, read_text(spec.text, default=HELD_OUT_TEXT))
        calibration = token_ids(place, read_text(spec.calibration, default=CALIBRATION_TEXT))
        text = windows_of(evaluation, n=spec.n_windows, length=spec.window_tokens, what="evaluation")
        seen = windows_of(calibration, n=spec.n_samples, length=spec.window_tokens, what="calibration")
        damage = open_layer_damage(place, device=self.device.kind, threads=max(1, n_usable_cpus()))
        pairs = [(g, f) for g in damage.groups for f in spec.formats if damage.fits(g, f)]
        self.total = len(pairs) * 1.5 + 2.0 * (len(spec.budgets_bits) + spec.n_random) + N_FISHER_WINDOWS + 4
        damage.calibrate(seen)
        yield self._progress("calibration text read", 4)
        search, verify = text[0::2], text[1::2]
        damage.remember("search", search)
        damage.remember("verify", verify)
        for group, form in pairs:
            for module in group.modules:
                damage.rounded(module, form)
            yield self._progress(f"{group.name} · {form} · rounded", 0.5)
        fisher = damage.fisher_kl_nat(search[:N_FISHER_WINDOWS], list(spec.formats), seed=spec.seed)
        yield self._progress("gradients", N_FISHER_WINDOWS)
        rows: list[dict[str, Any]] = []
        for group, form in pairs:
            kl = self._kept(f"{group.name} {form}", damage, {group.name: form}, "search")
            row = _layer_row(damage, group, form, mean_with_interval(kl, seed=spec.seed))
            rows.append(row | {"fisher_kl_nat_per_token": fisher[group.name, form]})
            yield self._progress(f"{group.name} · {form}")
        for i, (budget, origin, solution) in enumerate(self._plans(bit_options(rows))):
            kl = self._kept(f"plan {i} {origin} {budget}", damage, solution.plan, "verify")
            rows.append(_plan_row(budget, origin, solution, mean_with_interval(kl, seed=spec.seed)))
            yield self._progress(f"{origin} plan at {budget:g} bits", 2)
        yield Run(
            kind=KIND,
            spec=spec.to_dict(),
            environment=read_environment(self.device),
            started_at=started_at,
            finished_at=utc_now(),
            seed=spec.seed,
            results=list(rows),
            samples={},
            failures=[],
        )

    def _plans(self, options: Mapping[str, list[Option]]) -> list[tuple[float, str, Solution]]:
        """Budget, origin and plan: solved ones, then random ones."""
        spec, rng = self.spec, random.Random(self.spec.seed)
        budgets = [b for b in spec.budgets_bits if b >= least_cost(options)]
        made = [(b, "solved", solved(options, budget=b)) for b in budgets]
        if spec.random_budget_bits >= least_cost(options):
            drawn = (random_solution(options, budget=spec.random_budget_bits, rng=rng) for _ in range(spec.n_random))
            made += [(spec.random_budget_bits, "random", solution) for solution in drawn]
        return made


def mean_with_interval(per_window: Floats, *, seed: int) -> Interval:
    """Mean over windows with a block-bootstrap interval."""
    return block_bootstrap(per_window.size, lambda i: float(per_window[i].mean()), seed=seed, resamples=400)


def _layer_row(damage: LayerDamage, group: LayerGroup, form: str, kl: Interval) -> dict[str, Any]:
    return {
        "part": "layer group",
        "group": group.name,
        "layer": group.layer,
        "role": group.role,
        "n_weights": damage.n_weights(group),
        "format": form,
        "stored_bits": damage.stored_bits(group, form),
        "kl_nat_per_token": kl.value,
        "kl_nat_per_token_low": kl.low,
        "kl_nat_per_token_high": kl.high,
        "weight_error_fraction": damage.weight_error_fraction(group, form),
        "input_outlier_ratio": max(damage.input_outlier_ratio[m] for m in group.modules),
        "provenance": "measured",
    }


def bit_options(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Option]]:
    """What a plan can choose from, with stored bits per weight of the whole model as cost."""
    layers = [r for r in rows if r["part"] == "layer group"]
    sizes = {r["group"]: r["n_weights"] for r in layers}
    total = sum(sizes.values())
    made = {group: [Option(format=UNQUANTIZED, damage=0.0, cost=16 * size / total)] for group, size in sizes.items()}
    for r in layers:
        cost = r["stored_bits"] * r["n_weights"] / total
        made[r["group"]].append(Option(format=r["format"], damage=r["kl_nat_per_token"], cost=cost))
    return made


def time_options(
    rows: Sequence[Mapping[str, Any]], products: Sequence[Mapping[str, Any]], *, batch: int
) -> dict[str, list[Option]]:
    """What a plan can choose from, with measured seconds of the group's product as cost.

    Formats whose product was not timed are left out.

    Args:
        rows: Results of a sensitivity run.
        products: Results of a ``gemm`` run of the same model.
        batch: Tokens that are worked on together, one of those that were timed.

    Raises:
        InvalidSpec: nothing was timed at this batch, or a group has no timed format.
    """
    seconds = {(r["role"], r["format"]): r["p50_s"] for r in products if r["batch"] == batch}
    if not seconds:
        known = sorted({r["batch"] for r in products})
        raise InvalidSpec(f"No product was timed at batch {batch}.", remedy=f"Choose from: {known}.")
    made: dict[str, list[Option]] = {}
    for r in (r for r in rows if r["part"] == "layer group"):
        options = made.setdefault(r["group"], [])
        if not options and (r["role"], UNQUANTIZED) in seconds:
            options.append(Option(format=UNQUANTIZED, damage=0.0, cost=seconds[r["role"], UNQUANTIZED]))
        if (r["role"], r["format"]) in seconds:
            cost = seconds[r["role"], r["format"]]
            options.append(Option(format=r["format"], damage=r["kl_nat_per_token"], cost=cost))
    empty = next((group for group, options in made.items() if not options), None)
    if empty is not None:
        raise InvalidSpec(f"No format of {empty} was timed.", remedy="Time the formats of the sensitivity run.")
    return made


def least_cost(options: Mapping[str, list[Option]]) -> float:
    """Cost of the cheapest plan."""
    return sum(min(o.cost for o in choices) for choices in options.values())


def _plan_row(budget: float, origin: str, solution: Solution, kl: Interval) -> dict[str, Any]:
    return {
        "part": "plan",
        "origin": origin,
        "budget_bits": budget,
        "stored_bits": solution.cost,
        "predicted_kl_nat_per_token": solution.damage,
        "verified_kl_nat_per_token": kl.value,
        "verified_kl_nat_per_token_low": kl.low,
        "verified_kl_nat_per_token_high": kl.high,
        "plan": dict(solution.plan),
        "provenance": "measured",
    }
