"""Four GPUs of one host: links, ring attention, whole steps and loads of shapes too large for one, in vLLM.

    python benchmarks/four_cards.py predict OUT    # what the shipped constants say, on any machine, before the measurement
    python benchmarks/four_cards.py measure OUT    # on the host with the GPUs; each run is a file in OUT as soon as it is there

All engines of a part start together, with a KV cache of a fixed size, and measure one after the other while the others hold still: starting
takes ten times as long as measuring. NVLink multicast and vLLM's own all-reduce stay off, so that links are NCCL's.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tune_grid import add_tokenizer

from workbench.calibrate.device.spec import CalibrationSpec
from workbench.calibrate.serving_speed.measure import shape_folder
from workbench.calibrate.serving_speed.spec import ServingSpeedSpec
from workbench.catalog.models import model_spec_from
from workbench.catalog.served import Served
from workbench.core.errors import WorkbenchError
from workbench.core.runs import Run, last_run
from workbench.core.specs import Spec
from workbench.engines.server import ServerCard, ServerRoom, free_port
from workbench.engines.serving import launch_for
from workbench.estimate.device_calibration import machine_of
from workbench.estimate.fitting import DECODED
from workbench.estimate.linear_layers import one_precision
from workbench.estimate.machine import Split
from workbench.estimate.step_time import decode_step_s, prompt_s
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import measured, run
from workbench.questions.long_context.ring_attention.spec import RingSpec
from workbench.simulate.closed_loop import closed_loop
from workbench.simulate.costs import FRONT, step_cost
from workbench.simulate.engine import EngineLimits
from workbench.simulate.summary import summary

MODELS = "data/models"
CELLS_MOST_TOKENS = 66_000
USERS, INPUT, OUTPUT = (8, 32), 1024, 128
MOST_MEMORY_B = 100e9
"""Device memory above which all four engines fit beside each other."""
ALL_REDUCE: dict[str, object] = {
    "disable_custom_all_reduce": True,
    "compilation_config": {"pass_config": {"fuse_allreduce_rms": False}},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served4:
    """A shape over four devices."""

    shape: str
    served: str
    spread_experts: bool = False
    cache_b: int = 6_500_000_000
    """Room of the KV cache on each device, in bytes."""

    @property
    def name(self) -> str:
        """Name in the files of the runs."""
        return f"{self.shape}_{self.served}_{'ep4' if self.spread_experts else 'tp4'}"

    @property
    def split(self) -> Split:
        """How the model lies on the devices."""
        return Split(tensor=4, is_expert_parallel=self.spread_experts)

    @property
    def steps(self) -> ServingSpeedSpec:
        """The static batches."""
        more = {"enable_expert_parallel": True} if self.spread_experts else {}
        return ServingSpeedSpec(
            model=f"{MODELS}/{self.shape}",
            served=(self.served,),
            batches=(1, 8, 32, 64, 128),
            contexts=(128, 1024, 4096),
            most_tokens=CELLS_MOST_TOKENS,
            decode_steps=16,
            memory_fraction=0.1,
            tensor_parallel=4,
            engine_options={**ALL_REDUCE, "kv_cache_memory_bytes": self.cache_b, **more},
        )


ENGINES = (
    Served4(shape="llama-3.1-70b-shape", served="fp8"),
    Served4(shape="mixtral-8x7b-shape", served="bf16", spread_experts=True, cache_b=3_500_000_000),
    Served4(shape="mixtral-8x7b-shape", served="bf16", cache_b=3_500_000_000),
    Served4(shape="llama-3.1-70b-shape", served="bf16"),
)
WAVES = ((0, 1, 2, 3),), ((0, 1), (2, 3))


def say(began: float, what: str) -> None:
    """Print a line with the time since the start."""
    print(f"{time.monotonic() - began:5.0f} s  {what}", flush=True)


def keep(out: Path, name: str, done: Run) -> None:
    """Write a run as soon as it is there."""
    (out / f"{name}.json").write_text(done.to_json())


def measure_spec(out: Path, name: str, spec: Spec, began: float) -> None:
    """Carry a measurement out and keep its run; what fails is said and the rest goes on."""
    try:
        done = last_run(measured(spec, out / "work" / name), None)
        keep(out, name, done)
        say(began, f"{name}: {len(done.results)} rows, {[f.cause for f in done.failures]}")
    except WorkbenchError as error:
        say(began, f"{name}: {error}")


def waves() -> Iterator[Sequence[Served4]]:
    """Yield the engines that fit beside each other."""
    _, total = torch.cuda.mem_get_info()
    for wave in WAVES[total < MOST_MEMORY_B]:
        yield [ENGINES[i] for i in wave]


def measure(out: Path, *, parts: Sequence[str]) -> None:
    """Measure everything."""
    began = time.monotonic()
    if "links" in parts:
        spec = CalibrationSpec(model=f"{MODELS}/llama-3.1-8b-shape", parts=("all_reduce",), rounds=9)
        measure_spec(out, "links", spec, began)
    if "ring" in parts:
        ring = RingSpec(
            model=f"{MODELS}/llama-3.1-8b-shape", lengths=(262_144, 65_536), worlds=(1, 2, 4), rounds=5, device="cuda"
        )
        measure_spec(out, "ring_attention", ring, began)
    for wave in waves():
        if "steps" in parts:
            os.environ["WORKBENCH_TURN"] = str(out / "turn")
            with ThreadPoolExecutor(len(wave)) as pool:
                list(pool.map(lambda e: measure_spec(out, f"serving_speed_{e.name}", e.steps, began), wave))
        if "loads" in parts:
            measure_loads(out, wave, began)


def started(out: Path, engine: Served4, began: float) -> tuple[ServerCard, LoadSpec, str] | None:
    """Start a server; return it with a load for it and vLLM's version, or say why there is none."""
    scratch = out / "work" / "shapes" / engine.name
    scratch.mkdir(parents=True, exist_ok=True)
    folder = shape_folder(engine.steps, Served.read(engine.served), scratch)
    add_tokenizer(folder)
    more = ["--enable-expert-parallel"] if engine.spread_experts else []
    flags = (
        "--load-format=dummy --tensor-parallel-size=4 --disable-custom-all-reduce --no-enable-prefix-caching "
        "--max-num-batched-tokens=8192 --max-num-seqs=256 --max-model-len=8192 --gpu-memory-utilization=0.1 "
        f"--kv-cache-memory-bytes={engine.cache_b}"
    ).split()
    flags += ["--compilation-config", json.dumps(ALL_REDUCE["compilation_config"]), *more]
    port = free_port()
    try:
        launch = launch_for(
            "vllm", str(folder), name=engine.shape, port=port, device="cuda", cache=scratch, tell=print, extra=flags
        )
        card = ServerRoom(out / "work" / engine.name).start(
            launch.command,
            engine="vllm",
            model=engine.shape,
            port=port,
            environment=launch.variables,
            timeout_s=500,
            tell=lambda _: None,
        )
    except WorkbenchError as error:
        say(began, f"{engine.name}: {error}")
        return None
    say(began, f"{engine.name} answers")
    load = LoadSpec(
        url=card.url,
        model=engine.shape,
        arrivals="closed",
        concurrency=1,
        input_tokens=INPUT,
        output_tokens=OUTPUT,
        tokenizer=str(folder),
        token_ids=True,
        calibrate=False,
        seed=147,
    )
    return card, load, (launch.version or "vLLM").removeprefix("vLLM ")


def measure_loads(out: Path, wave: Sequence[Served4], began: float) -> None:
    """Start a server for each engine and, when all answer, send each its closed loops while the others are idle."""
    with ThreadPoolExecutor(len(wave)) as pool:
        servers = list(pool.map(lambda engine: started(out, engine, began), wave))
    for engine, server in zip(wave, servers, strict=True):
        if server is None:
            continue
        _, load, version = server
        run(replace(load, concurrency=4, duration_s=3.0, seed=1))
        for users in USERS:
            done = run(replace(load, concurrency=users, duration_s=10.0))
            done = replace(done, environment=done.environment.with_package("vllm", version))
            keep(out, f"load_{engine.name}_closed-{users}", done)
            say(began, f"{engine.name} closed-{users}: {[f.cause for f in done.failures]}")
    for engine, server in zip(wave, servers, strict=True):
        if server is not None:
            ServerRoom(out / "work" / engine.name).stop(server[0])


def predict(out: Path) -> None:
    """Write prefill and TPOT of the static batches by cell, and medians of the closed loops, for each device, with the constants that ship."""
    found: dict[str, object] = {}
    for device in ("h200-sxm", "h100-sxm"):
        for engine in ENGINES:
            model, machine = model_spec_from(f"{MODELS}/{engine.shape}"), machine_of(device)[0]
            machine, plan = replace(machine, split=engine.split), one_precision(model, engine.served)
            for batch, context in engine.steps.cells:
                sizes = np.array([float(batch)]), np.array([float(context)])
                step = decode_step_s(model, plan, machine, batch=sizes[0], context=sizes[1] + DECODED, kv_bits=16)
                read = prompt_s(model, plan, machine, batch=sizes[0], context=sizes[1])
                found[f"{device} {engine.name} {batch} x {context}"] = {
                    "tpot_s": float(step[0]),
                    "prefill_s": float(read[0]),
                }
            cost = step_cost(model, engine.served, machine, context_tokens=INPUT + OUTPUT // 2)
            for users in USERS:
                limits = EngineLimits(max_sequences=256, cache_tokens=70_000, front=FRONT)
                done = closed_loop(users, [(INPUT, OUTPUT)] * 6 * users, cost, limits)
                service = summary(done.answers, list(done.arrivals), ttft_s=1.0, tpot_s=1.0)
                found[f"{device} {engine.name} closed-{users}"] = {
                    "tpot_p50_s": service.tpot_s.p50,
                    "ttft_p50_s": service.ttft_s.p50,
                }
    (out / "predicted.json").write_text(json.dumps(found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("predict", "measure"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--parts", default="links,ring,steps,loads")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.what == "measure":
        measure(out, parts=args.parts.split(","))
    else:
        predict(out)


if __name__ == "__main__":
    main()
