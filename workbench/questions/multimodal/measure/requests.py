"""Requests of a measurement of images, in interleaved rounds, and the engines that answer them."""

import random
from dataclasses import asdict, dataclass, replace
from typing import Literal

import msgspec

from workbench.engines.inside_vllm.call import Dialogue
from workbench.questions.multimodal.rows import (
    EngineSamples,
    EngineStart,
    ImageSamples,
    RequestTimes,
    StreamSamples,
    TextSamples,
)
from workbench.questions.multimodal.spec import ImagesSpec, size_of

TEXT_CELLS = (96, 1024, 4096)  # prompts without an image
LEARNT_COUNTS = (1, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of an engine, as ``inside_vllm/images.py`` reads it."""

    do: Literal["text", "images", "about", "hash"]
    n: int = 0
    """Tokens of a text, or images of a request."""
    height: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a round."""

    label: str
    command: Command
    is_warm_up: bool = False
    hit_rate: float | None = None
    is_hit: bool | None = None
    caches: tuple[str, ...] = ()
    """Engines that are asked, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashTime:
    """The reply of an engine to "hash"."""

    hash_s: float


class Engine:
    """An engine that answers requests, and the times of these requests."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._dialogue = dialogue
        self._start = msgspec.convert(dialogue.heard(), EngineStart)
        self._requests: dict[tuple[Command, float | None], list[RequestTimes]] = {}
        self._hash_s: list[float] = []

    def ask(self, step: Step) -> None:
        """Send a request and keep its times, unless it warms up."""
        reply = self._dialogue.ask(**asdict(step.command), is_hit=step.is_hit)
        if step.command.do == "hash":
            self._hash_s.append(round(msgspec.convert(reply, HashTime).hash_s, 6))
        elif not step.is_warm_up:
            times = replace(msgspec.convert(reply, RequestTimes), is_hit=step.is_hit)
            self._requests.setdefault((step.command, step.hit_rate), []).append(times.to_microseconds())

    def samples(self) -> EngineSamples:
        """Return the times of all requests."""
        by = self._requests.items()
        return EngineSamples(
            start=self._start,
            texts=[TextSamples(n_tokens=c.n, requests=r) for (c, _), r in by if c.do == "text"],
            images=[
                ImageSamples(height_px=c.height, width_px=c.width, n_images=c.n, requests=r)
                for (c, _), r in by
                if c.do == "images"
            ],
            streams=[StreamSamples(hit_rate=rate, requests=r) for (_, rate), r in by if rate is not None],
            hash_s=self._hash_s,
        )


def cell_rounds(spec: ImagesSpec) -> list[Step]:
    """Return every cell once in each round, in an order drawn anew: what a large request leaves behind affects all. The first round warms up."""
    rng = random.Random(spec.seed)
    cells = [(*size_of(s), n) for s in spec.sizes for n in LEARNT_COUNTS]
    cells += [(*size_of(s), n) for s in spec.held_out_sizes for n in spec.held_out_counts]
    commands = {f"{n} tokens of text": Command(do="text", n=n) for n in TEXT_CELLS}
    commands |= {f"{n} of {h} × {w}": Command(do="images", height=h, width=w, n=n) for h, w, n in cells}
    steps: list[Step] = []
    for i in range(spec.repeats + 1):
        turn = [Step(label=label, command=command, is_warm_up=i == 0) for label, command in commands.items()]
        rng.shuffle(turn)
        steps += turn
    return steps


def stream_rounds(spec: ImagesSpec) -> list[Step]:
    """Return a request for each hit rate of all engines in each round, the engines interleaved."""
    rng = random.Random(spec.seed + 1)
    height, width = size_of(spec.hit_size)
    orders = {h: _hits(h, spec.requests_per_rate, rng) for h in spec.hit_rates}
    hashed, about = (Command(do=do, height=height, width=width) for do in ("hash", "about"))
    steps: list[Step] = []
    for i in range(spec.requests_per_rate):
        first = i % len(spec.caches)
        caches = spec.caches[first:] + spec.caches[:first]
        steps.append(Step(label="hashing an image", command=hashed, caches=caches[:1]))
        for rate, hits in orders.items():
            label = f"hit rate {100 * rate:.0f} %"
            steps.append(Step(label=label, command=about, hit_rate=rate, is_hit=hits[i], caches=caches))
    return steps


def _hits(rate: float, n: int, rng: random.Random) -> list[bool]:
    order = [i < round(rate * n) for i in range(n)]
    rng.shuffle(order)
    return order
