"""An exhaustive grid of vLLM settings against the tuner's choice, under one load.

    python benchmarks/tune_grid.py chat OUT     # 6 step sizes x 4 numbers of sequences x prefix cache on and off, one GPU
    python benchmarks/tune_grid.py long OUT     # the same x KV cache as the model and in FP8, one GPU
    python benchmarks/tune_grid.py cpu OUT      # 12 settings of the reference model, each launched with its flags
    python benchmarks/tune_grid.py cpu-live OUT # the same 12 on one server whose limits are changed while it runs

First the request rate is settled on the default (GPU: it must meet the SLO for some requests and miss it for others), then the tuner runs, then the whole grid in a
shuffled order, then the tuner's choice, the two best of the grid and the default on fresh seeds. On a GPU an 8B shape with dummy weights
is served, and the limits change while the server runs (``workbench/engines/inside_vllm/live_limits.py``): memory, CUDA graphs and compiled
code are those of the largest setting. Each load is a file in OUT/parts as soon as it is measured; OUT/run.json is written at the end, or by
a second call after an interruption, which measures what is missing. ``--minutes`` ends the grid in time for what comes after it.
A load that the tuner has sent on the grid's seed counts for the grid too. Both workloads leave each other room on a device of 141 GB: with ``--after FILE``
the servers of one are launched at once, and its loads begin when the file is there, which the other writes last.

With several GPUs, ``--share 1/2`` on another one measures a part of the grid meanwhile, in OUT/share-1, and the first takes it over:

    CUDA_VISIBLE_DEVICES=0 python benchmarks/tune_grid.py chat OUT --share 0/2 &
    CUDA_VISIBLE_DEVICES=1 python benchmarks/tune_grid.py chat OUT --share 1/2
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from workbench.catalog.paths import DATA, REFERENCE_MODEL_PLACE
from workbench.core.progress import Progress
from workbench.core.runs import Run, utc_now
from workbench.engines.vllm_settings import VllmSetting
from workbench.load.rows import LoadResult
from workbench.measuring.envelope import Record, run
from workbench.questions.tuning.measure import add_rows, priced, shape_for
from workbench.questions.tuning.measure.loads import tokenizer_of
from workbench.questions.tuning.measure.parts import MeasuredLoad, key_of
from workbench.questions.tuning.measure.servers import Launched, Live, Servers, Several
from workbench.questions.tuning.measure.space import Space, space
from workbench.questions.tuning.measure.tuner import FRESH, Tuner
from workbench.questions.tuning.rows import TuneChoice
from workbench.questions.tuning.spec import TuneSpec
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

TOKENS, SEQUENCES = (512, 1024, 2048, 4096, 8192, 16384), (32, 64, 128, 256)
LARGEST = (16384, 1024)
LEAST_MET, MOST_MET, FASTER, SLOWER, MOST_SETTLING = 0.5, 0.95, 1.05, 0.95, 2
"""Share within the SLO that the default should reach, and factors by which the rate changes until it does."""
CONFIRMED, N_WORDS = 5, 4000
CACHE_GIB = {"chat": 26, "long": 24}
"""Memory of the KV cache of each server on a GPU; with the weights of three servers it fits into 141 GB."""
SPENT = "tuner.json"
"""File with the time and the launches of the tuner alone."""
SHAPE = DATA / "models" / "llama-3.1-8b-shape" / "config.json"


def gpu_model(folder: Path) -> Path:
    """Return a folder with the shape and an invented tokenizer, so that every answer is text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(SHAPE.read_text())
    add_tokenizer(folder)
    return folder


def add_tokenizer(folder: Path) -> None:
    """Write a tokenizer that has a word for each id of the configuration beside it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    config = json.loads((folder / "config.json").read_text())
    letters = "abcdefghijklmnopqrstuvwxyz"

    def word(i: int) -> str:
        """Words of letters for prompts; later ones have a digit, so that the load generator does not look through them."""
        return "▁" + "".join(letters[i // 26**k % 26] for k in range(4)) + ("" if i < N_WORDS else "0")

    vocab = {"[UNK]": 0, "▁a": 1} | {word(i): i for i in range(2, config["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"})
    )


def spec_of(workload: str, out: Path) -> TuneSpec:
    """Return what is tuned; on a GPU its rate is settled later."""
    if workload.startswith("cpu"):
        return TuneSpec(
            model=REFERENCE_MODEL_PLACE,
            arrivals="closed",
            concurrency=32,
            input_tokens=256,
            output_tokens=48,
            input_cv=0.5,
            output_cv=0.5,
            slo_ttft_s=4.0,
            slo_tpot_s=0.1,
            duration_s=10.0,
            budget_min=3,
            batched_tokens=(256, 512, 2048),
            sequences=(4, 8, 16, 128),
            prefix_caching=("on",),
            flags=("--enforce-eager",),
            device="cpu",
        )
    cache = f"--kv-cache-memory-bytes={CACHE_GIB[workload] * 2**30}"
    common = TuneSpec(
        model=str(gpu_model(out / "model")),
        budget_min=1.5,
        batched_tokens=TOKENS,
        sequences=SEQUENCES,
        duration_s=10.0,
        max_model_len=16384,
        device="cuda",
        flags=("--load-format=dummy", "--gpu-memory-utilization=0.25", cache),
        input_tokens=1536,
        output_tokens=96,
        input_cv=0.15,
        output_cv=0.3,
        shared_prefix_tokens=1024,
        rate_per_s=46.0,
        slo_ttft_s=0.5,
        slo_tpot_s=0.025,
    )
    if workload == "chat":
        return common
    return replace(
        common,
        input_tokens=4096,
        output_tokens=96,
        input_cv=0.3,
        shared_prefix_tokens=0,
        rate_per_s=10.0,
        slo_ttft_s=2.0,
        slo_tpot_s=0.04,
        prefix_caching=("on",),
        kv_cache=("auto", "fp8"),
    )


def settled(spec: TuneSpec, url: str, model: str, out: Path) -> TuneSpec:
    """Return the spec with a request rate at which the default answers some requests of the grid's seed within the SLO and some not."""
    file = out / "settled.json"
    if not file.exists():
        load = spec.load(url, model, seed=spec.seed, tokenizer=tokenizer_of(spec))
        rate, tried = spec.rate_per_s, list[tuple[float, float]]()
        for _ in range(MOST_SETTLING):
            result = run(replace(load, rate_per_s=rate)).row(LoadResult)
            tried.append((rate, result.goodput.attainment_fraction))
            print(f"{rate:.1f} requests/s: {tried[-1][1]:.0%} within the SLO", flush=True)
            if LEAST_MET <= tried[-1][1] <= MOST_MET:
                break
            rate *= FASTER if tried[-1][1] > MOST_MET else SLOWER
        rate = min(tried, key=lambda pair: abs(pair[1] - (LEAST_MET + MOST_MET) / 2))[0]
        file.write_text(json.dumps({"rate_per_s": round(rate, 2), "tried": tried}))
    return replace(spec, rate_per_s=json.loads(file.read_text())["rate_per_s"])


def follow(items: Iterator[Progress], began: float) -> None:
    """Carry out a part of the run and print its steps."""
    last = ""
    for item in items:
        step = item.step.rpartition(" · ")[0] or item.step
        if step != last:
            print(f"{time.monotonic() - began:5.0f} s  {step}", flush=True)
            last = step


def measure_grid(tuner: Tuner, share: Fraction, *, began: float, end_s: float) -> None:
    """Measure every setting once, in a shuffled order that begins where this share does; what another share kept is there already."""
    order = list(tuner.space.valid)
    random.Random(1).shuffle(order)
    order.sort(key=lambda s: s.kv_cache_dtype)
    first = int(share * len(order))
    for setting in order[first:] + order[:first]:
        if not of_the_tuner(tuner, setting) and time.monotonic() - began < end_s:
            follow(tuner.measure(setting, [tuner.spec.seed], "grid"), began)


def of_the_tuner(tuner: Tuner, setting: VllmSetting) -> bool:
    """Return whether the tuner has sent the grid's load, which then counts for the grid too."""
    name = f"load@{key_of(setting)}@{tuner.spec.seed}@"
    sent = tuner.kept.read(name + "search", MeasuredLoad)
    if sent is not None:
        tuner.kept.write(name + "grid", replace(sent, trial=replace(sent.trial, purpose="grid")))
    return sent is not None


def confirm(tuner: Tuner, *, began: float, end_s: float) -> None:
    """Measure the tuner's choice, the best of the grid and the default on fresh seeds."""
    tried, seed = tuner.space, tuner.spec.seed
    grid = {s: w[0].mean() for s in tried.valid if (w := tuner.windows(s, "grid"))}
    best = sorted(grid, key=lambda s: -grid[s])[:2]
    chosen = tried.valid[tuner.search.best()]
    for k in range(CONFIRMED):  # interleaved, so that a drift of the machine meets all of them
        for setting in dict.fromkeys([chosen, tried.default, *best]):
            if time.monotonic() - began < end_s:
                follow(tuner.measure(setting, [seed + 2 * FRESH + k], "grid"), began)
    fresh = [tuner.windows(s, "grid")[1:] for s in (chosen, tried.default)]
    if chosen != tried.default:
        tuner.note_confirmed(*fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A share of the grid, and where it is kept: those beside the first share its parts."""

    whole: Path
    share: int
    n_shares: int

    @property
    def folder(self) -> Path:
        """Folder of this share, made where it is not there."""
        (self.whole / "parts").mkdir(parents=True, exist_ok=True)
        if not self.share:
            return self.whole
        own = self.whole / f"share-{self.share}"
        own.mkdir(exist_ok=True)
        if not (own / "parts").exists():
            (own / "parts").symlink_to("../parts")
        return own

    def others_are_done(self) -> bool:
        """Return whether all other shares have ended."""
        return all((self.whole / f"done-{k}").exists() for k in range(1, self.n_shares))


def asked(args: argparse.Namespace, out: Path) -> TuneSpec:
    """Return the spec of the arguments."""
    spec = spec_of(args.workload, out)
    given = {"duration_s": args.load_s, "rate_per_s": args.rate, "seed": args.seed}
    return replace(spec, **{name: value for name, value in given.items() if value is not None})


def servers_for(workload: str, spec: TuneSpec, out: Path, device: str) -> Servers:
    """Return where the settings are measured."""
    tokens, sequences = LARGEST if device == "cuda" else (2048, 128)

    def live(folder: Path) -> Live:
        return Live(spec, folder, device=device, largest_tokens=tokens, largest_sequences=sequences)

    if workload == "cpu":
        return Launched(spec, out, device=device)
    return Several(live, out / "servers-of") if workload == "long" else live(out)


def one_of_each(servers: Servers, tried: Space) -> list[VllmSetting]:
    """Return the first setting of each server that the grid needs."""
    return list({servers.group(setting): setting for setting in reversed(tried.valid)}.values())


def launched(servers: Servers, settings: list[VllmSetting]) -> ThreadPoolExecutor:
    """Launch the servers of settings, all at once, wait until they answer, and return their threads, with which they end."""
    threads = ThreadPoolExecutor(len(settings))
    for _ in threads.map(servers.served, settings):
        pass
    return threads


def warmed(spec: TuneSpec, servers: Servers, settings: list[VllmSetting]) -> None:
    """Send each server a short load: engines compile kernels for new sizes."""
    for setting in settings:
        served = servers.served(setting)
        load = spec.load(served.url, served.model, seed=998, tokenizer=tokenizer_of(spec))
        run(replace(load, duration_s=4.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=("chat", "long", "cpu", "cpu-live"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=21.0)
    parser.add_argument("--share", default="0/1", help="which share of the grid, of how many on as many GPUs")
    parser.add_argument("--load-s", type=float, help="seconds of each load")
    parser.add_argument("--rate", type=float, help="requests per second from which the rate is settled")
    parser.add_argument("--seed", type=int, help="of the search and the grid: one whose arrivals are near the rate")
    parser.add_argument("--fresh-s", type=float, default=300.0, help="seconds for the loads on fresh seeds")
    parser.add_argument("--after", type=Path, help="file that is waited for once the servers answer")
    args = parser.parse_args()
    began, started_at = time.monotonic(), utc_now()
    share, n_shares = (int(n) for n in args.share.split("/"))
    part = Part(whole=args.out.resolve(), share=share, n_shares=n_shares)
    out = part.folder
    spec = asked(args, out)
    device = chosen_device(spec.device)
    record = Record(out)
    servers = servers_for(args.workload, spec, out, device.kind)
    tried = space(spec, device)
    threads: ThreadPoolExecutor | None = None
    try:
        if not args.workload.startswith("cpu"):
            threads = launched(servers, one_of_each(servers, tried))
            print(f"{time.monotonic() - began:5.0f} s  the servers answer", flush=True)
            while args.after and not args.after.exists():
                time.sleep(0.5)
            began = time.monotonic()
            warmed(spec, servers, one_of_each(servers, tried))
            served = servers.served(tried.default)
            while share and not (part.whole / "settled.json").exists():
                time.sleep(0.5)
            spec = settled(spec, served.url, served.model, part.whole)
            print(
                f"{spec.rate_per_s} requests/s, SLO TTFT {spec.slo_ttft_s} s and TPOT {spec.slo_tpot_s} s", flush=True
            )
        aim, shape = priced(spec, device), shape_for(spec, device, tried)
        tuner = Tuner(spec, record, servers, tried, aim=aim, shape=shape)
        tuner.confirms = False  # the fresh seeds after the grid do
        carried_out(tuner, part, began=began, end_s=60 * args.minutes, after_grid_s=args.fresh_s)
    finally:
        servers.stop()
        if threads is not None:
            threads.shutdown()
    if not share:
        write_run(tuner, record, started_at)
        table(tuner, out)


def carried_out(tuner: Tuner, part: Part, *, began: float, end_s: float, after_grid_s: float) -> None:
    """Let the first share tune, measure the grid together with the others, and measure the choice on fresh seeds."""
    if not part.share:
        follow(tuner.run(), began)
        note_spent(tuner, part.whole / SPENT)
    measure_grid(tuner, Fraction(part.share, part.n_shares), began=began, end_s=end_s - after_grid_s)
    (part.whole / f"done-{part.share}").touch()
    if not part.share:
        while not part.others_are_done():
            time.sleep(0.5)
        confirm(tuner, began=began, end_s=end_s)


def note_spent(tuner: Tuner, file: Path) -> None:
    """Keep what the tuner alone has spent: the launches of the grid count for its time later."""
    if not file.exists():
        launches = sum(launch.n for launch in tuner.launches.values() if launch.startup_s)
        file.write_text(json.dumps({"measurement_s": tuner.spent_s, "n_launches": launches}))


def write_run(tuner: Tuner, record: Record, started_at: str) -> None:
    """Write the run of all parts."""
    device, spec = chosen_device(tuner.spec.device), tuner.spec
    if version := tuner.servers.version:
        record.packages["vllm"] = version.removeprefix("vLLM ")
    add_rows(tuner, record)
    spent = json.loads((record.folder / SPENT).read_text())
    record.rows = [replace(row, **spent) if isinstance(row, TuneChoice) else row for row in record.rows]
    environment = read_environment(device)
    for name, number in record.packages.items():
        environment = environment.with_package(name, number)
    shown = replace(spec, model="data/models/llama-3.1-8b-shape") if device.kind == "cuda" else spec
    done = Run(
        kind=spec.kind,
        spec=shown.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=record.rows,
        samples=record.samples,
        failures=record.failures,
    )
    (record.folder / "run.json").write_text(done.to_json())


def table(tuner: Tuner, out: Path) -> None:
    """Print the settings on the fresh seeds, and how long tuner and grid took."""
    loads = tuner.loads().values()
    for setting in tuner.space.valid:
        fresh = [w.mean() for w in tuner.windows(setting, "grid")[1:]]
        if fresh:
            tuned = " (the tuner's)" if setting == tuner.space.valid[tuner.search.best()] else ""
            print(f"{np.mean(fresh):8.3f}  {setting.label}{tuned}  [{', '.join(f'{f:.3f}' for f in fresh)}]")
    grid_s = sum(m.trial.seconds for m in loads if m.trial.purpose == "grid" and m.trial.seed == tuner.spec.seed)
    if not tuner.servers.changes_live:
        grid_s += sum(launch.startup_s / launch.n for launch in tuner.launches.values())
    spent_s = json.loads((out / SPENT).read_text())["measurement_s"]
    print(f"tuner {spent_s:.0f} s, grid {grid_s:.0f} s; {key_of(tuner.space.default)}; {out / 'run.json'}")


if __name__ == "__main__":
    main()
