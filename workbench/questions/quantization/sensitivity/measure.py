"""Damage of each format in each layer group alone, and of whole plans compared with the sum of the single damages."""

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import numpy as np

from workbench.catalog.formats import LayerGroup
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.compress.folder import prefix_ids, require_context, token_ids
from workbench.compress.layer_damage import LayerDamage, open_layer_damage
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext
from workbench.core.progress import Progress
from workbench.core.statistics import Interval, mean_with_interval
from workbench.estimate.mixed_precision import Option, Solution, random_solution, solved
from workbench.measuring.envelope import Record
from workbench.measuring.text import Ids, read_text, require_disjoint, windows_of
from workbench.questions.quantization.sensitivity.rows import (
    GroupDamage,
    LayerCoverage,
    PlanResult,
    SensitivitySamples,
    bit_options,
    least_cost,
)
from workbench.questions.quantization.sensitivity.spec import SensitivitySpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus

N_FISHER_WINDOWS = 8
Origin = Literal["solved", "random"]


def measure(spec: SensitivitySpec, record: Record) -> Iterator[Progress]:
    """Measure every format in every layer group alone, then whole plans; what was measured is kept."""
    model_spec_from(spec.model)
    record.device = device = chosen_device(spec.device)
    done, total = 0.0, 1.0

    def progress(step: str, work: float = 1.0) -> Progress:
        nonlocal done
        done += work
        return Progress(step=step, done=min(done, total), total=total)

    def kl_of(name: str, plan: Mapping[str, str], windows: str) -> Interval:
        """Return the mean KL over windows under a plan, which is measured once."""

        def kl_nat() -> list[float]:
            with damage.applied(plan):
                return list(damage.kl_nat(windows).tolist())

        return mean_with_interval(
            np.asarray(record.kept.once(name, list[float], kl_nat), dtype=np.float64), seed=spec.seed
        )

    yield progress("loading", 0)
    place = located(spec.model)
    text, calibration = _windows(spec, place)
    damage = open_layer_damage(place, device=device.kind, threads=max(1, n_usable_cpus()))
    record.samples = SensitivitySamples(prefix_ids=prefix_ids(place).tolist())
    pairs = [(g, f) for g in damage.groups for f in spec.formats if damage.fits(g, f)]
    total = len(pairs) * 1.5 + 2.0 * (len(spec.budgets_bits) + spec.n_random) + N_FISHER_WINDOWS + 4
    damage.calibrate(calibration)
    yield progress("calibrated", 4)
    search, verify = text[0::2], text[1::2]
    damage.remember("search", search)
    damage.remember("verify", verify)
    for group, form in pairs:
        for module in group.modules:
            damage.rounded(module, form)
        yield progress(f"{group.name} · {form} · rounded", 0.5)
    fisher = damage.fisher_kl_nat(search[:N_FISHER_WINDOWS], list(spec.formats), seed=spec.seed)
    yield progress("gradients", N_FISHER_WINDOWS)
    damages: list[GroupDamage] = []
    for group, form in pairs:
        kl = kl_of(f"{group.name} {form}", {group.name: form}, "search")
        damages.append(_group_damage(damage, group, form, kl=kl, fisher_kl=fisher[group.name, form]))
        yield progress(f"{group.name} · {form}")
    reached = {g.name: f for g, f in pairs}
    record.rows += damages
    record.rows.append(LayerCoverage(coverage=damage.coverage(reached), not_reached=not_reached(damage, reached)))
    for i, (budget, origin, solution) in enumerate(_plans(spec, bit_options(damages))):
        kl = kl_of(f"plan {i} {origin} {budget}", solution.plan, "verify")
        record.rows.append(
            PlanResult(
                origin=origin,
                budget_bits=budget,
                stored_bits=solution.cost,
                predicted_kl_nat_per_token=solution.damage,
                verified_kl_nat_per_token=kl,
                plan=solution.plan,
            )
        )
        yield progress(f"{origin} plan at {budget:g} bits", 2)


def _windows(spec: SensitivitySpec, place: str) -> tuple[Ids, Ids]:
    """Return the windows to measure on, and the calibration windows."""
    require_context(place, spec.window_tokens)
    evaluation = token_ids(place, read_text(spec.text, default=HELD_OUT_TEXT))
    calibration = token_ids(place, read_text(spec.calibration, default=CALIBRATION_TEXT))
    size, before = spec.window_tokens, prefix_ids(place)
    text = windows_of(evaluation, n=spec.n_windows, length=size, what="evaluation", prefix=before)
    other = windows_of(calibration, n=spec.n_samples, length=size, what="calibration", prefix=before)
    require_disjoint(other, text)
    return text, other


def not_reached(damage: LayerDamage, reached: Collection[str]) -> tuple[str, ...]:
    """Return the layer groups that no measured format fits.

    Raises:
        NotAvailable: the formats fit no group at all.
    """
    left = tuple(g.name for g in damage.groups if g.name not in reached)
    if len(left) == len(damage.groups):
        raise NotAvailable(
            gettext(
                "No format fits any layer group: the groups of the formats do not divide the inputs of the layers."
            ),
            remedy=gettext("Choose formats with one scale per row, such as w8a16."),
        )
    return left


def _plans(spec: SensitivitySpec, options: Mapping[str, list[Option]]) -> list[tuple[float, Origin, Solution]]:
    """Return budget, origin and plan of each plan to verify: solved ones, then random ones."""
    rng, least = random.Random(spec.seed), least_cost(options)
    plans: list[tuple[float, Origin, Solution]] = [
        (b, "solved", solved(options, budget=b)) for b in spec.budgets_bits if b >= least
    ]
    if spec.random_budget_bits >= least:
        drawn = (random_solution(options, budget=spec.random_budget_bits, rng=rng) for _ in range(spec.n_random))
        plans += [(spec.random_budget_bits, "random", solution) for solution in drawn]
    return plans


def _group_damage(damage: LayerDamage, group: LayerGroup, form: str, *, kl: Interval, fisher_kl: float) -> GroupDamage:
    return GroupDamage(
        group=group.name,
        layer=group.layer,
        role=group.role,
        n_weights=damage.n_weights(group),
        format=form,
        stored_bits=damage.stored_bits(group, form),
        kl_nat_per_token=kl,
        fisher_kl_nat_per_token=fisher_kl,
        weight_error_fraction=damage.weight_error_fraction(group, form),
        input_outlier_ratio=damage.outlier_ratio(group),
    )
