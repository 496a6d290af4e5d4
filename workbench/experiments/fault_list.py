"""Faults that can be put into a server on one machine, each with its true cause and its doses; and healthy changes beside them."""

from dataclasses import replace
from typing import get_args

from workbench.core.faults import FaultEngine
from workbench.experiments.fault_making import (
    Fault,
    ServerOptions,
    burdened,
    confined,
    filled,
    healthy,
    load_change,
    neighboured,
    no_gpu,
    one_core,
    paused,
    salted,
    same_load,
    times,
    tokenizer,
    too_much_memory,
    way,
)
from workbench.testing.network_proxy import Way

ENGINES = get_args(FaultEngine)

FAULTS: tuple[Fault, ...] = (
    Fault(
        name="surge",
        cause="surge",
        doses={"low": 2.0, "high": 3.0},
        begin=load_change(times("rate_per_s"), "offered_per_s"),
    ),
    Fault(
        name="longer prompts",
        cause="longer prompts",
        doses={"low": 2.0, "high": 3.0},
        begin=load_change(times("input_tokens"), "input_tokens"),
    ),
    Fault(
        name="longer answers",
        cause="longer answers",
        doses={"low": 2.0, "high": 3.0},
        begin=load_change(times("output_tokens"), "output_tokens"),
    ),
    Fault(name="salted prefixes", cause="prefix cache missed", doses={"low": 0.75, "high": 1.0}, begin=salted),
    Fault(
        name="fewer KV blocks",
        cause="KV cache too small",
        doses={"low": 0.055, "high": 0.047},
        begin=same_load,
        options={e: lambda d: ServerOptions(kv_factor=d) for e in ENGINES},
    ),
    Fault(
        name="larger batch limit",
        cause="batch limit raised",
        doses={"low": 24, "high": 64},
        begin=same_load,
        options={e: lambda d: ServerOptions(max_num_seqs=d) for e in ENGINES},
        busy=2.8,
    ),
    Fault(
        name="smaller batch limit",
        cause="batch limit lowered",
        doses={"low": 2, "high": 1},
        begin=same_load,
        busy=1.6,
        options={e: lambda d: ServerOptions(max_num_seqs=d) for e in ENGINES},
    ),
    Fault(name="processor hog", cause="processor taken by others", doses={"low": 0.5, "high": 2.0}, begin=burdened),
    Fault(
        name="fewer cores",
        cause="server has fewer cores",
        doses={"low": 0.125, "high": 0.0625},
        begin=confined,
        why_not=one_core,
    ),
    Fault(
        name="memory filled",
        cause="memory pressure",
        doses={"low": 0.4, "high": 0.6},
        begin=filled,
        why_not=too_much_memory,
    ),
    Fault(
        name="slow network",
        cause="slow network",
        doses={"low": 0.02, "high": 0.1},
        begin=way(lambda d: Way(delay_s=d), "writes"),
    ),
    Fault(
        name="packet loss",
        cause="packets lost",
        doses={"low": 0.015, "high": 0.05},
        begin=way(lambda d: Way(loss=d), "lost"),
    ),
    Fault(
        name="slow tokenizer",
        cause="slow tokenizer",
        doses={"low": 0.00015, "high": 0.0005},
        begin=tokenizer,
        options={"torch": lambda d: ServerOptions(slow_tokenizer_s=d)},
    ),
    Fault(
        name="another precision or model",
        cause="model or precision changed",
        doses={"low": "precision", "high": "weights"},
        begin=same_load,
        options={
            e: lambda d: ServerOptions(random_weights=d == "weights", other_precision=d == "precision") for e in ENGINES
        },
    ),
    Fault(
        name="server errors",
        cause="server errors",
        doses={"low": 0.1, "high": 0.3},
        begin=way(lambda d: Way(refused=d), "refused"),
    ),
    Fault(name="GPU neighbour", cause="GPU shared", doses={"low": 0.5, "high": 1.0}, begin=neighboured, why_not=no_gpu),
    Fault(name="server pauses", cause="server pauses", doses={"low": 0.5, "high": 1.0}, begin=paused),
    Fault(
        name="control",
        cause=None,
        doses={
            "same": lambda load: load,
            "same again": lambda load: load,
            "a sixth more requests": lambda load: replace(load, rate_per_s=load.rate_per_s * 7 / 6),
            "a third fewer requests": lambda load: replace(load, rate_per_s=load.rate_per_s * 2 / 3),
            "prompts an eighth longer": lambda load: replace(load, input_tokens=round(load.input_tokens * 1.125)),
            "answers a quarter shorter": lambda load: replace(load, output_tokens=round(load.output_tokens * 0.75)),
        },
        begin=healthy,
    ),
    Fault(
        name="restarted",
        cause=None,
        doses={"same": None},
        begin=lambda stage, dose: healthy(stage, lambda load: load),  # noqa: ARG005
        options={e: lambda d: ServerOptions() for e in ENGINES},  # noqa: ARG005
    ),
)
