"""What each technique that should raise the use of a device does on this one, with published claims beside it."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.compress.technique_steps import REQUESTS, TechniqueSteps
from workbench.core.errors import WorkbenchError
from workbench.core.progress import Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import block_bootstrap
from workbench.core.techniques import TECHNIQUES, TechniquesSpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "techniques"
BLOCK_TOKENS = 32
LENGTH_CV = 0.6  # of the lengths of conversations, for the pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two steps that do the same work, and how many units of it each does."""

    without: Callable[[], Any]
    with_it: Callable[[], Any]
    units_without: float = 1.0
    units_with: float = 1.0
    what: str
    """What is compared, in a reader's words."""


def run(spec: TechniquesSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    return last_run(measure(spec, Path()), on_progress)


def measure(spec: TechniquesSpec, _folder: Path) -> Iterator[Progress | Run]:
    """A row for each technique, then profiles; a technique that fails or that the device lacks says why."""
    started_at, device = utc_now(), chosen_device(spec.device)
    model_spec_from(spec.model)
    total = float(len(spec.techniques) + 2)
    yield Progress(step="loading the model", done=0.0, total=total)
    steps = TechniqueSteps(spec, device=device.kind)
    rows: list[Mapping[str, Any]] = []
    profiles: dict[str, Any] = {}
    for n, name in enumerate(spec.techniques):
        yield Progress(step=TECHNIQUES[name], done=float(n), total=total, result={"rows": list(rows)})
        rows.append({"technique": name, "label": TECHNIQUES[name]} | _row(name, steps, spec, device.kind))
    yield Progress(step="profile", done=total - 1, total=total, result={"rows": list(rows)})
    for name, step in (
        ("a token for one sequence", steps.decoding(1)),
        (f"a token for {spec.batch} sequences", steps.decoding(spec.batch)),
        ("reading a prompt", steps.reading(1)),
    ):
        profiles[name] = steps.profiled(step)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={"profiles": profiles, "roof": steps.roof()},
        failures=[],
    )


def _row(name: str, steps: TechniqueSteps, spec: TechniquesSpec, device: str) -> dict[str, Any]:
    """What a technique does; ``status`` says whether it was measured."""
    if name == "graphs" and device != "cuda":
        return {"status": "not available", "reason": "CUDA graphs need an NVIDIA GPU"}
    if name == "pool":
        return _pool(steps, spec)
    try:
        pair = _pair(name, steps, spec)
        row = _compared(pair, steps, spec)
        if name == "fusion":
            counts = [steps.profiled(s, steps=1)["n_operators"] for s in (pair.without, pair.with_it)]
            row |= {"operators_without": counts[0], "operators_with": counts[1]}
            row["operators_percent"] = 100 * (1 - counts[1] / counts[0])
    except (WorkbenchError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()
        return {"status": "failed", "reason": f"{type(error).__name__}: {first[0][:200] if first else ''}"}
    return row


def _pair(name: str, steps: TechniqueSteps, spec: TechniquesSpec) -> Pair:
    if name == "batching":
        return Pair(
            without=steps.decoding(1),
            with_it=steps.decoding(spec.batch),
            units_with=float(spec.batch),
            what=f"tokens per second: {spec.batch} sequences in a step, against one",
        )
    if name == "overlap":
        return Pair(
            without=steps.requests(overlapped=False),
            with_it=steps.requests(overlapped=True),
            units_without=REQUESTS,
            units_with=REQUESTS,
            what="requests per second: the next is tokenized while one is read, against one after the other",
        )
    if name in {"fusion", "graphs"}:
        return Pair(
            without=steps.eager_static(),
            with_it=steps.compiled(),
            what="decoding steps per second: compiled"
            + (" and replayed as a graph" if name == "graphs" else "")
            + ", against eager",
        )
    return Pair(
        without=steps.decoding(spec.batch),
        with_it=steps.decoding(spec.batch, steps.low),
        what=f"tokens per second of {spec.batch} sequences: bfloat16, against float32",
    )


def _compared(pair: Pair, steps: TechniqueSteps, spec: TechniquesSpec) -> dict[str, Any]:
    """Both sides in turns, in a random order each round; the gain is the middle of the rounds' ratios."""
    rng = random.Random(spec.seed)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(spec.rounds):
        order = [0, 1]
        rng.shuffle(order)
        for side in order:
            seconds[side].append(steps.timed((pair.without, pair.with_it)[side]))
    ratios = np.array(seconds[0]) / pair.units_without / (np.array(seconds[1]) / pair.units_with)
    gain = block_bootstrap(ratios.size, lambda i: float(np.median(ratios[i])), seed=spec.seed)
    return {
        "status": "measured",
        "provenance": "measured",
        "what": pair.what,
        "without_s": float(np.median(seconds[0])) / pair.units_without,
        "with_s": float(np.median(seconds[1])) / pair.units_with,
        "gain": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "reduction_percent": 100 * (1 - 1 / gain.value),
    }


def _pool(steps: TechniqueSteps, spec: TechniquesSpec) -> dict[str, Any]:
    """Cache bytes that hold no token, for conversations of many lengths: one piece of the greatest length each, against blocks."""
    rng = np.random.default_rng(spec.seed)
    sigma = float(np.sqrt(np.log(1 + LENGTH_CV**2)))
    lengths = np.maximum(1, np.exp(rng.normal(np.log(4 * spec.context_tokens) - sigma**2 / 2, sigma, 1000))).astype(int)
    longest = int(lengths.max())
    blocks = np.ceil(lengths / BLOCK_TOKENS) * BLOCK_TOKENS
    without = 1 - lengths.sum() / (longest * lengths.size)
    with_it = 1 - lengths.sum() / blocks.sum()
    return {
        "status": "measured",
        "provenance": "estimated",
        "what": f"share of the cache that holds no token: pieces for {longest} tokens each, against blocks of {BLOCK_TOKENS}",
        "without_fraction": float(without),
        "with_fraction": float(with_it),
        "gain": float(blocks.size * longest / blocks.sum()),
        "reduction_percent": float(100 * (1 - with_it / without)),
        "bytes_per_token": steps.cache_bytes_per_token(),
    }
