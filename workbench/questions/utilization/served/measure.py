"""Servers with and without each technique beside each other, and interleaved closed loops on them while the device is sampled."""

import random
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import platformdirs

from workbench.catalog.models import language_model_from
from workbench.catalog.paths import located
from workbench.core.dependent import mean_of_batches
from workbench.core.devices import Device
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.runs import Run
from workbench.core.statistics import Interval, median_over_rounds
from workbench.core.units import GIB
from workbench.engines.hosted import NAME, Hosted, hosted
from workbench.engines.serving import with_random_weights
from workbench.estimate.weights import weight_bytes
from workbench.load.crowd import ask_all
from workbench.load.cut import cut
from workbench.load.recording.rows import recording_of
from workbench.load.rounds import calls_of, prompt_words, prompts_of
from workbench.load.rows import KeptRequest, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import Record, measured
from workbench.questions.utilization.served.rows import (
    NotServed,
    SampledLoad,
    ServedGain,
    ServedSide,
    ServedTechnique,
    ServedTechniquesSamples,
)
from workbench.questions.utilization.served.spec import (
    COMPARISONS,
    LAUNCHES,
    ON_A_PROCESSOR,
    SIDES,
    TECHNIQUES,
    ServedTechniquesSpec,
    launches_of,
)
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.samples import Recording

SAMPLES_HZ = 10.0
SETTLE_S = 1.0
"""The users begin at once, and what NVML reads first is of the second before (nvmlDeviceGetUtilizationRates: periods of 1/6 to 1 s)."""
BATCH_S = 1.0
REST_BYTES = 4 * GIB
"""Of a server beside weights and cache: CUDA's context, activations of a full step, graphs."""
LOWEST_SHARE = "--gpu-memory-utilization=0.1"
"""Checked at the start alone, as the cache has a fixed size (vllm/v1/worker/gpu_worker.py, 0.26)."""
WARM_UP_PATIENCE_S = 120.0


@dataclass(slots=True)
class Findings:
    """What loads have shown so far, by launch."""

    loads: dict[str, list[SampledLoad]] = field(default_factory=dict)
    failed: dict[str, WorkbenchError] = field(default_factory=dict)
    startup_s: dict[str, float] = field(default_factory=dict)


def measure(spec: ServedTechniquesSpec, record: Record) -> Iterator[Progress]:
    """Yield progress and fill the record; a technique one of whose servers fails says why in its row, and the others are measured."""
    device = record.device = chosen_device(spec.device)
    absent = ON_A_PROCESSOR if device.kind == "cpu" else {}
    measurable = [name for name in spec.techniques if name not in absent]
    groups, found = groups_that_fit(spec, measurable, device), Findings()
    total = float(sum((1 + spec.rounds) * len(launches_of(g)) for g in groups)) or 1.0
    done = 0.0
    for group in groups:
        yield from _group(spec, record, launches_of(group), found, device=device, span=(done, total))
        for name in group:
            record.rows.append(technique_row(name, found))
        done += (1 + spec.rounds) * len(launches_of(group))
    for name in spec.techniques:
        if name in absent:
            record.rows.append(
                NotServed(technique=name, label=TECHNIQUES[name], status="not available", reason=absent[name])
            )
    record.samples = ServedTechniquesSamples(loads=found.loads, startup_s=found.startup_s)


def groups_that_fit(spec: ServedTechniquesSpec, techniques: Sequence[str], device: Device) -> list[list[str]]:
    """Return techniques whose servers run beside each other: all of them where the device's free memory has room, else one at a time."""
    bits = 32 if device.kind == "cpu" else 16
    one = weight_bytes(language_model_from(spec.model), weight_bits=bits, other_bits=bits)
    needed_bytes = len(launches_of(techniques)) * (one + spec.cache_gib * GIB + REST_BYTES)
    if not techniques or needed_bytes <= device.free_bytes:
        return [list(techniques)] if techniques else []
    return [[name] for name in techniques]


def server_flags(spec: ServedTechniquesSpec, launch: str, *, device: str) -> list[str]:
    """Return vLLM's flags of a launch; the reader's come last, so that they count."""
    longest = spec.input_tokens + spec.output_tokens + 64
    same = [f"--max-num-seqs={spec.concurrency}", f"--max-model-len={longest}", "--no-enable-prefix-caching"]
    if device == "cuda":
        same += [f"--kv-cache-memory-bytes={round(spec.cache_gib * GIB)}", LOWEST_SHARE]
    return [*same, *LAUNCHES[launch].flags, *spec.flags]


def _group(
    spec: ServedTechniquesSpec,
    record: Record,
    names: Sequence[str],
    found: Findings,
    *,
    device: Device,
    span: tuple[float, float],
) -> Generator[Progress, None, None]:
    """Yield progress of the rounds on the servers of a group; rounds that an earlier call has kept are not measured again."""
    done, total = span
    kept = {(n, name): record.kept.read(f"{name} {n}", SampledLoad) for n in range(spec.rounds) for name in names}
    if any(load is None for load in kept.values()):
        step = gettext_noop("starting {n} servers").format(n=len(names))
        yield Progress(step=step, done=done, total=total)
        with started(spec, record, names, found, device=device) as servers:
            for number in range(spec.rounds):
                order = random.Random(f"{spec.seed} {number}").sample(sorted(servers), len(servers))
                for place, name in enumerate(order):
                    yield Progress(
                        step=gettext_noop("round {number}: {name}").format(number=number + 1, name=name),
                        done=done + len(names) * (1 + number) + place,
                        total=total,
                    )
                    if kept[number, name] is None and name not in found.failed:
                        try:
                            kept[number, name] = sampled_load(spec, servers[name].url, number, record.folder / "load")
                            record.kept.write(f"{name} {number}", kept[number, name])
                        except WorkbenchError as error:
                            found.failed[name] = error
    for name in names:
        found.loads[name] = [load for (_, own), load in kept.items() if own == name and load is not None]


@contextmanager
def started(
    spec: ServedTechniquesSpec, record: Record, names: Sequence[str], found: Findings, *, device: Device
) -> Iterator[dict[str, Hosted]]:
    """Give the servers that came up, all launched at once; why others did not is noted."""
    model, cache = spec.model, Path(platformdirs.user_cache_dir("inference-workbench"))
    if spec.random_weights:
        model = str(with_random_weights(Path(located(model)), cache=cache / "random", tell=lambda _: None))

    def launched(name: str) -> tuple[ExitStack, Hosted]:
        own = record.folder / name
        with ExitStack() as stack:
            # Launches that share a graph would write the same files of vLLM's cache at the same time.
            variables = {"VLLM_CACHE_ROOT": str(own / "cache"), **LAUNCHES[name].variables}
            server = hosted(
                "vllm",
                model,
                folder=own,
                device=device.kind,
                extra=server_flags(spec, name, device=device.kind),
                variables=variables,
                ending=record.others.ending,
            )
            hosted_one = stack.enter_context(server)
            warm_up(spec, hosted_one.url)
            return stack.pop_all(), hosted_one

    with ThreadPoolExecutor(len(names)) as threads, ExitStack() as all_of_them:  # servers end with their threads
        servers: dict[str, Hosted] = {}
        for name, future in {name: threads.submit(launched, name) for name in names}.items():
            try:
                stack, servers[name] = future.result()
            except WorkbenchError as error:
                found.failed[name] = error
                continue
            all_of_them.push(stack)
            found.startup_s[name] = round(servers[name].startup_s or 0.0, 1)
            if version := servers[name].version:
                record.packages["vllm"] = version.removeprefix("vLLM ")
        yield servers


def warm_up(spec: ServedTechniquesSpec, url: str) -> None:
    """Ask as many requests at once as the loads do, twice: kernels are compiled for new sizes. Raises ``NotAvailable`` without an answer."""
    rng, words = random.Random(f"warm {spec.seed}"), prompt_words(located(spec.model))
    for _ in range(2):
        prompts = prompts_of(words, spec.concurrency, n_tokens=spec.input_tokens, rng=rng)
        fixed = {"model": NAME, "max_tokens": min(spec.output_tokens, 16), "ignore_eos": True, "stream": True}
        bodies = [fixed | {"prompt": prompt} for prompt in prompts]
        outcomes = ask_all(url, calls_of([0.0] * len(bodies), bodies), keys={}, patience_s=WARM_UP_PATIENCE_S)
        if all(o.error for o in outcomes):
            raise NotAvailable(f"The server answers no request: {outcomes[0].error}.", remedy="Its log says why.")


def load_of(spec: ServedTechniquesSpec, url: str, number: int) -> LoadSpec:
    """Return the closed loop of a round, which is the same for every server."""
    folder = Path(located(spec.model))
    tokenizer = str(folder) if (folder / "tokenizer.json").exists() else None
    return LoadSpec(
        url=url,
        model=NAME,
        arrivals="closed",
        concurrency=spec.concurrency,
        duration_s=spec.duration_s,
        input_tokens=spec.input_tokens,
        output_tokens=spec.output_tokens,
        tokenizer=tokenizer,
        token_ids=tokenizer is not None,
        calibrate=False,
        telemetry_hz=SAMPLES_HZ,
        nonce=number + 1,
        seed=spec.seed,
    )


def sampled_load(spec: ServedTechniquesSpec, url: str, number: int, folder: Path) -> SampledLoad:
    """Return what the load of a round shows of one server; raises ``WorkbenchError`` where nothing is answered in its steady part."""
    for item in cut(measured(load_of(spec, url, number), folder), spec.duration_s):
        if isinstance(item, Run):
            return steady_part(item, start_s=SETTLE_S, end_s=spec.duration_s)
    raise AssertionError("the last item is the run")


def steady_part(run: Run, *, start_s: float, end_s: float) -> SampledLoad:
    """Return the use of the device and the tokens of a closed loop between two of its seconds, in which all of its users wait or are answered.

    Raises:
        WorkbenchError: No token came in it.
    """
    samples, recording = run.sampled(LoadSamples), recording_of(run)
    tokens = tokens_between(samples.requests, start_s, end_s)
    if not tokens:
        failure = run.failures[0] if run.failures else None
        raise WorkbenchError(
            failure.cause if failure else "No token came in the load.",
            remedy=failure.remedy if failure else "Make the loads longer with --duration.",
        )
    tpots = [t for r in samples.requests if (t := tpot_of(r)) is not None]
    began = samples.started_monotonic_s or 0.0
    seconds = list(pairwise(began + np.arange(start_s, end_s + 1e-9, BATCH_S)))
    gpu = busiest_gpu(recording, began + start_s, began + end_s) if recording else None

    def means(quantity: str) -> tuple[float, ...]:
        found = [recording.mean(f"{gpu}.{quantity}", *second) for second in seconds] if recording and gpu else []
        return () if None in found else tuple(round(m, 3) for m in found if m is not None)

    return SampledLoad(
        utilization_percent=means("utilisation_percent"),
        tensor_active_percent=means("tensor_active_percent"),
        output_tokens_per_s=tokens / (end_s - start_s),
        tpot_s=median(tpots) if tpots else None,
        n_failed=sum(r.error is not None and not r.is_cancelled for r in samples.requests),
    )


def busiest_gpu(recording: Recording, start_s: float, end_s: float) -> str | None:
    """Return the GPU that was used most, such as "gpu0": NVML numbers them otherwise than CUDA_VISIBLE_DEVICES; None without any."""
    used = {
        name.partition(".")[0]: recording.mean(name, start_s, end_s) or 0.0
        for name in recording.values
        if name.startswith("gpu") and name.endswith(".utilisation_percent")
    }
    return max(used, key=lambda gpu: used[gpu]) if used else None


def tokens_between(requests: Sequence[KeptRequest], start_s: float, end_s: float) -> float:
    """Return the tokens that came between two moments, of answers that the end of the load cut off too."""
    total = 0.0
    for r in requests:
        chunk_s = r.chunk_s
        per_chunk = r.chunk_tokens or (r.output_tokens / max(1, len(chunk_s)),) * len(chunk_s)
        total += sum(n for at, n in zip(chunk_s, per_chunk, strict=True) if start_s <= at <= end_s)
    return total


def tpot_of(request: KeptRequest) -> float | None:
    """Return the time per output token after the first chunk, also of an answer that was cut off; None for fewer than two chunks."""
    chunk_s = request.chunk_s
    if len(chunk_s) < 2:
        return None
    later = sum(request.chunk_tokens[1:]) if request.chunk_tokens else len(chunk_s) - 1
    return (chunk_s[-1] - chunk_s[0]) / later if later else None


def technique_row(name: str, found: Findings) -> ServedTechnique:
    """Return the row of a technique from the loads of its two launches, or why there is none."""
    label, (without, with_it) = TECHNIQUES[name], SIDES[name]
    for launch in (without, with_it):
        if (error := found.failed.get(launch)) is not None:
            return NotServed(technique=name, label=label, status="failed", reason=f"{launch}: {error.cause}")
    rounds = list(zip(found.loads[without], found.loads[with_it], strict=True))
    used = [(a.utilization_percent, b.utilization_percent) for a, b in rounds]
    differences = [(y - x) / 100 for a, b in used for x, y in zip(a, b, strict=False)]
    return ServedGain(
        technique=name,
        label=label,
        what=COMPARISONS[name],
        without=side_of(without, found.loads[without]),
        with_it=side_of(with_it, found.loads[with_it]),
        utilization_gain=mean_of_batches(np.array(differences), within=(-1.0, 1.0)) if differences else None,
        throughput_ratio=median_over_rounds(
            np.array([b.output_tokens_per_s / a.output_tokens_per_s for a, b in rounds])
        ),
    )


def side_of(launch: str, loads: Sequence[SampledLoad]) -> ServedSide:
    """Return what the rounds of a launch show."""

    def share(percents: Sequence[Sequence[float]]) -> Interval | None:
        batches = np.array([p / 100 for series in percents for p in series])
        return mean_of_batches(batches, within=(0.0, 1.0)) if batches.size else None

    tpots = [load.tpot_s for load in loads if load.tpot_s is not None]
    return ServedSide(
        flags=LAUNCHES[launch].flags,
        variables=LAUNCHES[launch].variables,
        utilization_fraction=share([load.utilization_percent for load in loads]),
        tensor_active_fraction=share([load.tensor_active_percent for load in loads]),
        output_tokens_per_s=median(load.output_tokens_per_s for load in loads),
        tpot_p50_s=median(tpots) if tpots else None,
        n_failed=sum(load.n_failed for load in loads),
    )
