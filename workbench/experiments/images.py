"""What a picture costs in vLLM: parts of the time to the first token, predicted and measured, and what caches save."""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import REFERENCE_MODEL, located
from workbench.catalog.vision import vision_model
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.images import CACHES, ImagesSpec, size_of
from workbench.core.progress import SCRATCH, Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import quantile_interval
from workbench.core.vision import VisionSpec
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import Dialogue
from workbench.estimate.image_time import (
    Asked,
    TtftParts,
    break_even_hit_rate,
    computed_parts,
    learnt,
    predicted_parts,
)
from workbench.experiments.device_calibration import machine_of
from workbench.experiments.serving import image_model
from workbench.load.prompts import open_tokenizer, single_token_words
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "images"
PARTS = ("accept_s", "encoder_s", "projector_s", "prompt_s")
TEXT_CELLS = (96, 1024, 4096)  # prompts without a picture
LEARNT_COUNTS = (1, 4)
CACHE_GIB = 4.0  # vLLM's default of its processor cache
DRAWS = 2000
START_WORK = 60.0  # starting vLLM, in units of a request


def run(spec: ImagesSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: ImagesSpec, folder: Path) -> Iterator[Progress | Run]:
    """An engine for each kind of cache: parts are measured while the first is alone, caches with all of them, asked in turns."""
    started_at = utc_now()
    device = chosen_device("auto")
    environment = require("vllm", device=device.kind)
    if device.kind == "cpu":
        raise NotAvailable(
            "vLLM's processors of pictures need torchvision, which has no CPU build beside this torch.",
            remedy="Run this on a machine with a GPU; the run that ships was measured on one.",
        )
    scratch = folder / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    model = image_model(Path(located(spec.model)), cache=scratch / "models")
    cells, streams = _cell_rounds(spec), _stream_rounds(spec)
    total, done = START_WORK * len(spec.caches) + len(cells) + len(streams), 0.0
    failures: list[Mapping[str, str]] = []
    told: dict[str, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        engines: dict[str, Dialogue] = {}
        for name in spec.caches:  # one after another: each looks at what memory is free
            yield Progress(step=f"{CACHES[name]} · starting vLLM", done=done, total=total)
            try:
                engine = stack.enter_context(
                    Dialogue("images", _request(spec, name, model), name=name, folder=scratch, device=device.kind)
                )
                told[name] = [engine.heard()]
                engines[name] = engine
            except WorkbenchError as error:
                failures.append({"method": CACHES[name], "cause": error.cause, "remedy": error.remedy})
            done += START_WORK
            if name in engines and name == "none":  # while nothing else is on the host
                for step, command in cells:
                    yield Progress(step=step, done=done, total=total)
                    answer = engines[name].ask(**command)
                    if not command.get("warm"):
                        told[name].append(command | answer)
                    done += 1
        for step, command, names in streams:
            yield Progress(step=step, done=done, total=total)
            for name in (n for n in names if n in engines):
                told[name].append(command | engines[name].ask(**command))
            done += 1
    lines = {name: _gathered(found) for name, found in told.items()}
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=read_environment(device).with_package("vllm", environment.version),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=[
            *cell_rows(spec, vision_model(spec.vision), lines.get("none", []), device_id=device.catalog_id or ""),
            *stream_rows(spec, lines),
        ],
        samples={"lines": {name: _short(found) for name, found in lines.items()}},
        failures=failures,
    )


def _request(spec: ImagesSpec, cache: str, model: Path) -> dict[str, Any]:
    words = single_token_words(open_tokenizer(str(REFERENCE_MODEL)))  # type: ignore[arg-type]
    options: dict[str, Any] = {"gpu_memory_utilization": 0.9 / len(spec.caches)}
    return {
        "model": str(model),
        "text_tokens": spec.text_tokens,
        "words": words[:200],
        "most_images": max(*LEARNT_COUNTS, *spec.held_out_counts),
        "processor_cache_gib": 0.0 if cache == "none" else CACHE_GIB,
        "prefix_caching": cache == "prefix",
        "max_model_len": spec.max_model_len,
        "options": options | (spec.engine_options or {}),
        "seed": spec.seed,
    }


def _cell_rounds(spec: ImagesSpec) -> list[tuple[str, dict[str, Any]]]:
    """Every cell once in each round, in an order drawn anew: what a large request leaves behind meets all. The first round warms up."""
    rng = random.Random(spec.seed)
    cells = [(*size_of(s), n) for s in spec.sizes for n in LEARNT_COUNTS]
    cells += [(*size_of(s), n) for s in spec.held_out_sizes for n in spec.held_out_counts]
    asked: list[tuple[str, dict[str, Any]]] = []
    for i in range(spec.repeats + 1):
        warm = {"warm": True} if i == 0 else {}
        turn = [(f"{n} tokens of text", {"do": "text", "n": n} | warm) for n in TEXT_CELLS]
        turn += [
            (f"{n} of {high} × {wide}", {"do": "pictures", "height": high, "width": wide, "n": n} | warm)
            for high, wide, n in cells
        ]
        rng.shuffle(turn)
        asked += turn
    return asked


def _stream_rounds(spec: ImagesSpec) -> list[tuple[str, dict[str, Any], tuple[str, ...]]]:
    """A request for each hit rate of all engines in each round, the engines in turns."""
    rng = random.Random(spec.seed + 1)
    high, wide = size_of(spec.hit_size)
    orders = {h: _hits(h, spec.requests_per_rate, rng) for h in spec.hit_rates}
    asked: list[tuple[str, dict[str, Any], tuple[str, ...]]] = []
    for i in range(spec.requests_per_rate):
        names = tuple(spec.caches[(i + k) % len(spec.caches)] for k in range(len(spec.caches)))
        asked.append(("recognising a picture", {"do": "hash", "height": high, "width": wide}, names[:1]))
        for h, hits in orders.items():
            command = {"do": "about", "height": high, "width": wide, "is_hit": hits[i], "hit_rate": h}
            asked.append((f"{100 * h:.0f} % seen before", command, names))
    return asked


def _hits(rate: float, n: int, rng: random.Random) -> list[bool]:
    order = [True] * round(rate * n) + [False] * (n - round(rate * n))
    rng.shuffle(order)
    return order


def _gathered(told: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answers to the same command together, the readiness first."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in told:
        if "ready_s" in line:
            found["ready",] = dict(line)
            continue
        key = {k: line[k] for k in ("do", "n", "height", "width", "hit_rate") if k in line}
        place = found.setdefault(tuple(key.values()), {**key, "requests": []})
        place["requests"].append({k: v for k, v in line.items() if k not in key})
    return list(found.values())


def _short(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Times to the microsecond."""
    return [
        {
            k: [{n: round(x, 6) if isinstance(x, float) else x for n, x in q.items()} for q in v]
            if k == "requests"
            else v
            for k, v in line.items()
        }
        for line in lines
    ]


def parts_of(requests: Sequence[Mapping[str, float]]) -> TtftParts:
    """Medians of each part."""
    middle = {k: float(np.median([q[k] for q in requests])) for k in ("accept_s", "encoder_s", "projector_s")}
    rest = [q["ttft_s"] - q["accept_s"] - q["encoder_s"] - q["projector_s"] for q in requests]
    return TtftParts(**middle, prompt_s=float(np.median(rest)))


def cell_rows(
    spec: ImagesSpec, vision: VisionSpec, lines: Sequence[Mapping[str, Any]], *, device_id: str
) -> list[dict[str, Any]]:
    """A row for each measured cell: parts, shares, and what was predicted from the other cells and from the calibration."""
    found: list[tuple[Asked, TtftParts, Mapping[str, Any]]] = []
    for line in lines:
        if line.get("do") == "text":
            asked = Asked(height_px=1, width_px=1, n_images=0, text_tokens=line["n"])
        elif line.get("do") == "pictures":
            asked = Asked(
                height_px=line["height"], width_px=line["width"], n_images=line["n"], text_tokens=spec.text_tokens
            )
        else:
            continue
        found.append((asked, parts_of(line["requests"]), line))
    if not found:
        return []
    taught = {size_of(s) for s in spec.sizes}
    known = [
        (a, p, round(float(np.median([q["prompt_tokens"] for q in line["requests"]]))))
        for a, p, line in found
        if not a.n_images or ((a.height_px, a.width_px) in taught and a.n_images in LEARNT_COUNTS)
    ]
    costs = learnt(vision, known)
    model = model_spec_from(spec.model)
    try:
        machine = machine_of(device_id)[0]
    except WorkbenchError:
        machine = None
    rows = []
    for a, p, line in found:
        if not a.n_images:
            continue
        ttft = np.array([q["ttft_s"] for q in line["requests"]])
        told_by = predicted_parts(vision, costs, a)
        computed = computed_parts(vision, model, machine, a, accept_s=told_by.accept_s) if machine else None
        middle = quantile_interval(ttft, 0.5)
        rows.append(
            {
                "part": "cell",
                "height_px": a.height_px,
                "width_px": a.width_px,
                "n_images": a.n_images,
                "prompt_tokens": round(float(np.median([q["prompt_tokens"] for q in line["requests"]]))),
                "held_out": (a.height_px, a.width_px) not in taught,
                "ttft_p50_s": middle.value,
                "ttft_p50_interval_s": [middle.low, middle.high],
                **asdict(p),
                "predicted_ttft_s": told_by.ttft_s,
                "predicted_parts_s": asdict(told_by),
                "computed_ttft_s": computed.ttft_s if computed else None,
                "computed_parts_s": asdict(computed) if computed else None,
                "error_fraction": told_by.ttft_s / middle.value - 1,
                "n": len(ttft),
                "provenance": "measured",
            }
        )
    return rows


def stream_rows(spec: ImagesSpec, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each hit rate and cache, and for each cache where it breaks even.

    Predicted from requests that all miss or all hit, measured on streams of both; ``by_parts`` is what the parts without a cache and
    the time of a hash alone would say.
    """
    streams = {name: [x for x in found if x.get("do") == "about"] for name, found in lines.items()}
    if not streams.get("none"):
        return []
    without = np.array([q["ttft_s"] for x in streams["none"] for q in x["requests"]])
    # What a request takes without a cache, and one with as many words and no picture.
    plain = parts_of([q for x in streams["none"] for q in x["requests"]])
    bare = parts_of(next(x for x in lines["none"] if x.get("do") == "text")["requests"])
    hashes = [q["hash_s"] for found in lines.values() for x in found if x.get("do") == "hash" for q in x["requests"]]
    rows: list[dict[str, Any]] = []
    for name, found in streams.items():
        if not found:
            continue
        asked = [q for x in found for q in x["requests"]]
        hits = np.array([q["ttft_s"] for q in asked if q["is_hit"]])
        misses = np.array([q["ttft_s"] for q in asked if not q["is_hit"]])
        predicted_hit, predicted_miss = _predicted(name, plain, bare, float(np.median(hashes)))
        for x in found:
            ttft = np.array([q["ttft_s"] for q in x["requests"]])
            rows.append(
                {
                    "part": "stream",
                    "cache": name,
                    "hit_rate": x["hit_rate"],
                    "ttft_mean_s": float(ttft.mean()),
                    "ttft_mean_interval_s": _mean_interval(ttft, spec.seed),
                    "predicted_ttft_mean_s": x["hit_rate"] * predicted_hit + (1 - x["hit_rate"]) * predicted_miss,
                    "n": len(ttft),
                    "provenance": "measured",
                }
            )
        if name == "none" or not len(hits) or not len(misses):
            continue
        ends = {h: [q["ttft_s"] for x in found if x["hit_rate"] == h for q in x["requests"]] for h in (0.0, 1.0)}
        mixed = [q for x in found if 0 < x["hit_rate"] < 1 for q in x["requests"]]
        if not mixed or not all(ends.values()):
            continue
        own = {is_hit: np.array([q["ttft_s"] for q in mixed if q["is_hit"] == is_hit]) for is_hit in (False, True)}
        rows.append(
            {
                "part": "break-even",
                "cache": name,
                "without_s": float(without.mean()),
                "missed_s": float(np.mean(ends[0.0])),
                "hit_s": float(np.mean(ends[1.0])),
                "predicted_hit_rate": break_even_hit_rate(
                    missed_s=float(np.mean(ends[0.0])), hit_s=float(np.mean(ends[1.0])), without_s=float(without.mean())
                ),
                "hit_rate": break_even_hit_rate(
                    missed_s=float(own[False].mean()), hit_s=float(own[True].mean()), without_s=float(without.mean())
                ),
                "hit_rate_interval": _break_even_interval(own[False], own[True], without, spec.seed),
                "by_parts_hit_rate": break_even_hit_rate(
                    missed_s=predicted_miss, hit_s=predicted_hit, without_s=plain.ttft_s
                ),
                "provenance": "measured",
            }
        )
    return rows


def _predicted(cache: str, plain: TtftParts, bare: TtftParts, hash_s: float) -> tuple[float, float]:
    """Seconds of a hit and of a miss, from parts that were measured without a cache and the time of a hash.

    A miss costs the hash more. A hit spares processor and encoder, with the prefix cache the picture's share of the prompt
    too, and costs the hash.
    """
    if cache == "none":
        return plain.ttft_s, plain.ttft_s
    hit = hash_s + bare.accept_s + (bare.prompt_s if cache == "prefix" else plain.prompt_s)
    return hit, plain.ttft_s + hash_s


def _mean_interval(values: Any, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return [float(low), float(high)]


def _break_even_interval(misses: Any, hits: Any, without: Any, seed: int) -> list[float]:
    """Bootstrap interval; a draw in which hits are no faster counts as 1."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(DRAWS):
        m, h, w = (float(rng.choice(x, len(x)).mean()) for x in (misses, hits, without))
        found = break_even_hit_rate(missed_s=m, hit_s=h, without_s=w)
        made.append(1.0 if found is None else found)
    low, high = np.quantile(made, [0.025, 0.975])
    return [float(low), float(high)]
