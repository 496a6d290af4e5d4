"""The KL divergence of a whole plan from the original model, by the amount of calibration text."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from workbench.catalog.formats import Format, LayerGroup, formats_of
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import CALIBRATION_TEXT, HELD_OUT_TEXT, located
from workbench.compress.folder import linear_groups, prefix_ids, require_context, token_ids
from workbench.compress.layer_damage import open_layer_damage
from workbench.compress.rows import Coverage
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import mean_with_interval
from workbench.measuring.envelope import Record
from workbench.measuring.text import Ids, read_text, require_disjoint, windows_of
from workbench.questions.quantization.plan_damage.rows import PlanDamage, PlanSamples
from workbench.questions.quantization.plan_damage.spec import PlanDamageSpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Measurement of the plan with one amount of calibration text."""

    kl_nat: Sequence[float]
    """Mean KL of each window of text."""
    make_s: float
    stored_bits: float
    coverage: Coverage = ()


def measure(spec: PlanDamageSpec, record: Record) -> Iterator[Progress]:
    """Measure the plan once for each amount of calibration text; finished amounts are kept."""
    model_spec_from(spec.model)
    record.device = device = chosen_device(spec.device)
    place, total = located(spec.model), float(len(spec.n_samples))
    yield Progress(step=gettext_noop("loading"), done=0, total=total)
    require_context(place, spec.window_tokens)
    require_some_quantized(formats_of(spec.plan, linear_groups(place)))
    evaluation, before = token_ids(place, read_text(spec.text, default=HELD_OUT_TEXT)), prefix_ids(place)
    size = spec.window_tokens
    text = windows_of(evaluation, n=spec.n_windows, length=size, what="evaluation", prefix=before)[1::2]
    calibration = token_ids(place, read_text(spec.calibration, default=CALIBRATION_TEXT))
    windows = windows_of(calibration, n=max(1, *spec.n_samples), length=size, what="calibration", prefix=before)
    require_disjoint(windows, text)
    order = np.random.default_rng(spec.seed).permutation(len(windows))
    kl_nat: dict[int, Sequence[float]] = {}
    record.samples = PlanSamples(kl_nat=kl_nat, prefix_ids=before.tolist())
    for i, n in enumerate(spec.n_samples):
        part = record.kept.read(str(n), _Part)
        if part is None:
            yield Progress(step=gettext_noop("{n} windows of calibration text").format(n=n), done=float(i), total=total)
            part = _measured(spec, text, windows[order[:n]], place=place, device=device.kind)
            record.kept.write(str(n), part)
        kl_nat[n] = part.kl_nat
        record.rows.append(
            PlanDamage(
                calibration_windows=n,
                calibration_tokens=n * spec.window_tokens,
                stored_bits=part.stored_bits,
                mean_kl_nat_per_token=mean_with_interval(np.asarray(part.kl_nat), seed=spec.seed),
                n_windows=len(part.kl_nat),
                make_s=part.make_s,
                coverage=part.coverage,
            )
        )


def require_some_quantized(chosen: Sequence[tuple[LayerGroup, Format]]) -> None:
    """Raise ``InvalidSpec`` where a plan leaves every layer group as it is."""
    if all(form.weights is None for _, form in chosen):
        raise InvalidSpec(
            gettext("The plan quantizes no layer."), remedy=gettext("Give a layer group another format than bf16.")
        )


def _measured(spec: PlanDamageSpec, text: Ids, calibration: Ids, *, place: str, device: str) -> _Part:
    """Return the KL of each window of text under the plan, calibrated on some windows; without any, weights are rounded."""
    damage = open_layer_damage(place, device=device, threads=max(1, n_usable_cpus()))
    chosen = formats_of(spec.plan, damage.groups)
    unfit = [g.name for g, f in chosen if not damage.fits(g, f.name)]
    if unfit:
        raise InvalidSpec(
            gettext("The inputs of {group} are no multiple of the format's group.").format(group=unfit[0]),
            remedy=gettext("Choose another format."),
        )
    damage.remember("verify", text)
    began = time.monotonic()
    if len(calibration):
        damage.calibrate(calibration)
    with damage.applied({g.name: f.name for g, f in chosen}):
        make_s = time.monotonic() - began
        kl = damage.kl_nat("verify")
    sizes = {g.name: damage.n_weights(g) for g in damage.groups}
    bits = sum(damage.stored_bits(g, f.name) * sizes[g.name] for g, f in chosen) / sum(sizes.values())
    coverage = damage.coverage({g.name: f.name for g, f in chosen})
    return _Part(kl_nat=kl.tolist(), make_s=make_s, stored_bits=bits, coverage=coverage)
