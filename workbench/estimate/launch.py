"""How vLLM is started for a plan: its command line, and before it how a checkpoint in that precision is come by."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

from workbench.catalog.csv_rows import rows_of
from workbench.catalog.formats import FORMATS, SCHEMES
from workbench.catalog.model_spec import ModelSpec
from workbench.catalog.paths import DATA, located
from workbench.core.traces import read_trace
from workbench.core.traffic import around_mean, draw_arrivals
from workbench.estimate.precision import official_precision
from workbench.estimate.search import IN_ONE_MACHINE, Load, Plan

SIBLINGS = "siblings.csv"
MOST_DRAWN, BLOCK = 1500, 16  # requests, as many as a simulation of a plan sends; tokens
OUT = "checkpoints"
"""Folder that made checkpoints are written to."""
PRESETS = {"nvfp4": "NVFP4", "mxfp4": "MXFP4"}
"""Names of llm-compressor's schemes for formats that `workbench checkpoints` does not make."""
MADE_BY = {"w4a16": "gptq-w4a16", "fp8a16": "fp8-dynamic"} | {
    s.format: s.name for s in reversed(SCHEMES.values()) if s.format != "w4a16"
}
"""Scheme of `workbench checkpoints` by format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SiblingRow:
    """A line of ``siblings.csv``, with the columns that are used."""

    model: str
    sibling: str
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights in some precision, and how they are come by."""

    place: str
    """Name or folder, as a shell takes it."""
    flags: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    """Comments and commands that come before."""


@cache
def known_siblings() -> Mapping[tuple[str, str], str]:
    """Return published checkpoints by model and precision; the first one listed of each."""
    if not (DATA / SIBLINGS).is_file():
        return {}
    return {(row.model, row.precision): row.sibling for row in reversed(rows_of(SIBLINGS, _SiblingRow))}


def hub_name(model: str) -> str:
    """Return a model's name or folder without the catalogue's remarks, such as "(text)"; the folder of a config.json."""
    bare = re.sub(r"\s+\([^)]*\)$", "", model)
    return str(Path(bare).parent) if Path(bare).name == "config.json" else bare


def checkpoint_in(model: str, plan: Plan, *, official: str) -> Checkpoint:
    """Return the weights that a plan serves.

    The model's own where it is stored so, a published sibling, FP8 that vLLM rounds to while it loads 16 bits, or one that
    must be made first.
    """
    name = hub_name(model)
    if plan.precision == official or (official, plan.precision) in {("bf16", "fp16"), ("fp16", "bf16")}:
        return Checkpoint(place=shlex.quote(name))
    sibling = known_siblings().get((name, plan.precision))
    if sibling:
        return Checkpoint(place=shlex.quote(sibling))
    if plan.precision == "fp8" and FORMATS[official].bits == FORMATS["bf16"].bits:
        return Checkpoint(place=shlex.quote(name), flags=("--quantization", "fp8"))
    return _made_checkpoint(name, plan)


def _made_checkpoint(name: str, plan: Plan) -> Checkpoint:
    last, label = Path(name).name, FORMATS[plan.precision].label
    is_here = Path(located(name)).is_dir()
    folder = name if is_here else last
    download = () if is_here else (shlex.join(["hf", "download", name, "--local-dir", last]),)
    scheme = MADE_BY.get(plan.precision) or MADE_BY.get(plan.kernel)
    if scheme is None:
        target = f"{OUT}/{last}-{PRESETS.get(plan.precision, plan.precision.upper())}"
        remark = f'llm-compressor makes one: oneshot(model="{folder}", recipe=QuantizationModifier(targets="Linear", '
        remark += f'scheme="{PRESETS.get(plan.precision, plan.precision.upper())}", ignore=["lm_head"]), '
        remark += f'output_dir="{target}")'
        return Checkpoint(
            place=shlex.quote(target),
            lines=(f"# no published checkpoint of {name} with {label} is known here", *download, f"# {remark}"),
        )
    make = shlex.join(["workbench", "checkpoints", folder, "--schemes", scheme, "--out", OUT])
    return Checkpoint(
        place=f"{shlex.quote(f'{OUT}/{last}-{scheme}-')}*",
        lines=(f"# no published checkpoint of {name} with {label} is known here: make one", *download, make),
    )


@cache
def longest_request(input_tokens: int, output_tokens: int) -> int:
    """Return the tokens of the longest of the requests that a load of these mean lengths draws, in whole blocks."""
    drawn = draw_arrivals(MOST_DRAWN, rate_per_s=1.0, lengths=around_mean(input_tokens, output_tokens), seed=0)
    return ceil(max(a.input_tokens + a.output_tokens for a in drawn) / BLOCK) * BLOCK


@cache
def longest_of_trace(trace: str) -> int:
    """Return the tokens of the longest request of a trace."""
    return max(a.input_tokens + a.output_tokens for a in read_trace(Path(trace)).arrivals)


def longest_of(load: Load, *, most: int | None) -> int:
    """Return the tokens that a server must take for a load: of its trace, or of requests drawn around its means, within the model's length."""
    trace = getattr(load, "trace", None)
    longest = longest_of_trace(str(trace)) if trace else longest_request(load.input_tokens, load.output_tokens)
    return min(longest, most) if most else longest


def serve_command(
    place: str, plan: Plan, load: Load, *, flags: tuple[str, ...] = (), most_tokens: int | None = None
) -> str:
    """Return vLLM's command line for one replica.

    Args:
        place: The model, written as a shell takes it.
        plan: What is started.
        load: Its requests.
        flags: Further ones.
        most_tokens: Longest context that the model was made for.
    """
    split = plan.split
    options = [
        *("--max-model-len", str(longest_of(load, most=most_tokens))),
        *("--max-num-seqs", str(max(1, ceil(plan.concurrency / split.data)))),  # of each data-parallel rank
        *("--gpu-memory-utilization", "0.9"),
    ]
    sizes = {"tensor": split.tensor, "pipeline": split.pipeline, "data": split.data}
    for name, n in sizes.items():
        options += [f"--{name}-parallel-size", str(n)] if n > 1 else []
    optional = {
        ("--enable-expert-parallel",): split.is_expert_parallel,
        ("--distributed-executor-backend", "ray"): plan.n_devices > IN_ONE_MACHINE,
        ("--dtype", plan.dtype): plan.dtype != "auto",
        flags: True,
        ("--kv-cache-dtype", "fp8"): plan.kv_bits == 8,
    }
    options += [part for words, is_set in optional.items() if is_set for part in words]
    return f"vllm serve {place} {shlex.join(options)}"


def launch_command(model: str, plan: Plan, load: Load, *, spec: ModelSpec | None = None) -> str:
    """Return the lines that start one replica of a plan, the one that serves last.

    ``spec`` says how the model is stored; BF16 where it is left out.
    """
    official = official_precision(spec) if spec is not None else "bf16"
    checkpoint = checkpoint_in(model, plan, official=official)
    most = spec.max_context_tokens if spec is not None else None
    serve = serve_command(checkpoint.place, plan, load, flags=checkpoint.flags, most_tokens=most)
    return "\n".join([*checkpoint.lines, ray_sketch(serve, plan)])


def ray_sketch(command: str, plan: Plan) -> str:
    """Return how one replica is started on several machines: a Ray cluster, then vLLM on its head."""
    n_machines = ceil(plan.n_devices / IN_ONE_MACHINE)
    if n_machines == 1:
        return command
    each = plan.n_devices // n_machines
    return (
        f"# {n_machines} machines with {each} devices each; the same image and model path on all of them\n"
        "# first machine:\n"
        "ray start --head --port=6379\n"
        f"# each of the other {n_machines - 1}:\n"
        "ray start --address=HEAD_ADDRESS:6379\n"
        "# first machine again, when `ray status` shows all devices:\n"
        f"{command}"
    )
