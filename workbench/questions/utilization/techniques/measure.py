"""Measured gain of each technique that should raise the throughput of a device."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec
import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.compress.technique_steps import REQUESTS, TechniqueSteps
from workbench.core.errors import WorkbenchError
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import median_over_rounds
from workbench.measuring.envelope import Record
from workbench.questions.utilization.techniques.rows import (
    MemoryGain,
    NotMeasured,
    OperatorCounts,
    Roof,
    StepProfile,
    Technique,
    TechniquesSamples,
    TimeGain,
)
from workbench.questions.utilization.techniques.spec import COMPARISONS, GRAPHS_NEED, STEPS, TECHNIQUES, TechniquesSpec
from workbench.telemetry.devices import chosen_device

Step: TypeAlias = Callable[[], object]
BLOCK_TOKENS = 32
FLOAT_BYTES = 4  # of an element of the cache, as the model runs in float32
LENGTH_CV = 0.6  # of the lengths of conversations, for the pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two steps that do the same work, and how many units of it each does."""

    without: Step
    with_it: Step
    units_without: float = 1.0
    units_with: float = 1.0
    what: str
    """What is compared, in a reader's words."""


def measure(spec: TechniquesSpec, record: Record) -> Iterator[Progress]:
    """Yield progress technique by technique; a technique that fails or that the device lacks says why in its row."""
    device = record.device = chosen_device(spec.device)
    kept = model_spec_from(spec.model).kv_layers or ()
    n_elements = sum(group.n_layers * group.elements_per_token for group in kept)
    total = float(len(spec.techniques) + 2)
    yield Progress(step=gettext_noop("loading the model"), done=0.0, total=total)
    steps = TechniqueSteps(spec, device=device.kind)
    for n, name in enumerate(spec.techniques):
        yield Progress(step=TECHNIQUES[name], done=float(n), total=total)
        record.rows.append(_pool(n_elements, spec) if name == "pool" else _row(name, steps, spec, device.kind))
    yield Progress(step=gettext_noop("profile"), done=total - 1, total=total)
    one, several, prefill = (step.format(n=spec.batch) for step in STEPS)
    profiles = {
        one: profile(steps, steps.decoding(1)),
        several: profile(steps, steps.decoding(spec.batch)),
        prefill: profile(steps, steps.reading(1)),
    }
    record.samples = TechniquesSamples(profiles=profiles, roof=msgspec.convert(steps.roof(), Roof))


def profile(steps: TechniqueSteps, step: Step, *, n_steps: int = 5) -> StepProfile:
    """Return where the time of a step goes."""
    return msgspec.convert(steps.profiled(step, steps=n_steps), StepProfile)


def _row(name: str, steps: TechniqueSteps, spec: TechniquesSpec, device: str) -> Technique:
    """Return what a technique does, or why that is not known."""
    label = TECHNIQUES[name]
    if name == "graphs" and device != "cuda":
        return NotMeasured(technique=name, label=label, status="not available", reason=GRAPHS_NEED)
    try:
        pair = _pair(name, steps, spec)
        row = compared(name, pair, steps.timed, rounds=spec.rounds, seed=spec.seed)
        if name != "fusion":
            return row
        without, with_it = (profile(steps, s, n_steps=1).n_operators for s in (pair.without, pair.with_it))
        return replace(row, operators=OperatorCounts(without=without, with_it=with_it))
    except (WorkbenchError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {first[0][:200] if first else ''}"
        return NotMeasured(technique=name, label=label, status="failed", reason=reason)


def _pair(name: str, steps: TechniqueSteps, spec: TechniquesSpec) -> Pair:
    n, what = spec.batch, COMPARISONS[name].format(n=spec.batch)
    if name == "batching":
        return Pair(without=steps.decoding(1), with_it=steps.decoding(n), units_with=float(n), what=what)
    if name == "overlap":
        sides = (steps.requests(overlapped=False), steps.requests(overlapped=True))
        return Pair(without=sides[0], with_it=sides[1], units_without=REQUESTS, units_with=REQUESTS, what=what)
    if name in {"fusion", "graphs"}:
        return Pair(without=steps.eager_static(), with_it=steps.compiled(), what=what)
    return Pair(without=steps.decoding(n), with_it=steps.decoding(n, steps.low), what=what)


def compared(name: str, pair: Pair, timed: Callable[[Step], float], *, rounds: int, seed: int) -> TimeGain:
    """Time both sides interleaved, in a random order each round; the gain is the median of the rounds' ratios."""
    rng = random.Random(seed)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side in rng.sample((0, 1), 2):
            seconds[side].append(timed((pair.without, pair.with_it)[side]))
    ratios = np.array(seconds[0]) / pair.units_without / (np.array(seconds[1]) / pair.units_with)
    gain = median_over_rounds(ratios)
    return TimeGain(
        technique=name,
        label=TECHNIQUES[name],
        what=pair.what,
        without_s=float(np.median(seconds[0])) / pair.units_without,
        with_s=float(np.median(seconds[1])) / pair.units_with,
        gain=gain.value,
        gain_interval=(gain.low, gain.high),
        reduction_percent=100 * (1 - 1 / gain.value),
    )


def _pool(n_elements: int, spec: TechniquesSpec) -> Technique:
    """Compare cache bytes that hold no token, for conversations of many lengths: one piece of the greatest length each, against blocks."""
    if not n_elements:
        reason = "the model has no cache of keys and values whose size is known"
        return NotMeasured(technique="pool", label=TECHNIQUES["pool"], status="not available", reason=reason)
    rng = np.random.default_rng(spec.seed)
    sigma = float(np.sqrt(np.log(1 + LENGTH_CV**2)))
    lengths = np.maximum(1, np.exp(rng.normal(np.log(4 * spec.context_tokens) - sigma**2 / 2, sigma, 1000))).astype(int)
    longest = int(lengths.max())
    pieces, blocks = longest * lengths.size, float(np.ceil(lengths / BLOCK_TOKENS).sum()) * BLOCK_TOKENS
    without, with_it = 1 - float(lengths.sum()) / pieces, 1 - float(lengths.sum()) / blocks
    return MemoryGain(
        technique="pool",
        label=TECHNIQUES["pool"],
        what=COMPARISONS["pool"].format(longest=longest, block=BLOCK_TOKENS),
        without_fraction=without,
        with_fraction=with_it,
        gain=pieces / blocks,
        reduction_percent=100 * (1 - with_it / without),
        bytes_per_token=float(n_elements * FLOAT_BYTES),
    )
