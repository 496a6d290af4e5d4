"""Structured output on an engine: a first and a later request alone, and loads with a schema and without, in rounds."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from workbench.catalog.paths import located
from workbench.core.errors import NotAvailable
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import Interval, median_over_rounds, share_interval
from workbench.engines.hosted import NAME, Hosted, hosted
from workbench.load.ask import the_model
from workbench.load.crowd import Outcome, ask_all
from workbench.load.prompts import drawn_nonce
from workbench.load.rounds import (
    PATIENCE_S,
    RoundTimes,
    calls_of,
    median_tpot_s,
    median_ttft_s,
    poisson_due_s,
    prompt_words,
    prompts_of,
    quantile_s,
    ratio_over,
    read_prompts,
    require_answer,
    times_of,
)
from workbench.load.spec import LoadSpec
from workbench.load.structure import fits
from workbench.measuring.envelope import Record
from workbench.questions.tuning.structured.rows import AnswersOfKind, StructureCost, StructuredSamples
from workbench.questions.tuning.structured.spec import StructuredSpec, schema_of
from workbench.telemetry.devices import chosen_device

KINDS = ("plain", "structured")
ALONE = ("plain", "first", "later")
TIMES_ALONE = 3
"""Requests alone of each kind in a round, each first one with a title of its own; their median counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRound:
    """Answers of one kind in one round, as a resumed measurement finds them."""

    times: RoundTimes
    prompts: tuple[int, ...]
    """Number of the prompt of each answer."""
    valid: tuple[bool, ...]
    cut: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredRound:
    """One round of both kinds."""

    alone_s: Mapping[str, float]
    kinds: Mapping[str, KindRound]


def measure(spec: StructuredSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record: rounds of both kinds on one server."""
    device = record.device = chosen_device(spec.device)
    schema, total = schema_of(spec.schema), float(spec.rounds + 1)
    keys = [f"round {number}" for number in range(spec.rounds)]
    rounds = [record.kept.read(key, StructuredRound) for key in keys]
    if any(r is None for r in rounds):
        yield Progress(step=gettext_noop("starting the engine"), done=0, total=total)
        with _server(spec, record, device=device.kind) as server:
            record.kept.write("version", server.version)
            asker = Questions(spec, server.url, schema)
            asker.warm()
            for number, key in enumerate(keys):
                yield Progress(
                    step=gettext_noop("round {number}").format(number=number + 1), done=1 + number, total=total
                )
                if rounds[number] is None:
                    rounds[number] = asker.round(number)
                    record.kept.write(key, rounds[number])
    version = record.kept.read("version", str)
    if version:
        record.packages[spec.engine] = version.rpartition(" ")[2]
    finished = [r for r in rounds if r is not None]
    record.rows += [answers_row(kind, [r.kinds[kind] for r in finished]) for kind in KINDS]
    record.rows.append(cost_row(finished))
    times = {kind: [r.kinds[kind].times for r in finished] for kind in KINDS}
    record.samples = StructuredSamples(
        alone_s={name: [round(r.alone_s[name], 5) for r in finished] for name in ALONE},
        ttft_s={k: [None if t is None else round(t, 4) for r in own for t in r.ttft_s] for k, own in times.items()},
        tpot_s={k: [None if t is None else round(t, 5) for r in own for t in r.tpot_s] for k, own in times.items()},
    )


def _server(spec: StructuredSpec, record: Record, *, device: str) -> AbstractContextManager[Hosted]:
    if spec.url is not None:
        return nullcontext(Hosted(url=spec.url))
    flags: list[str] = []
    if spec.engine == "vllm":
        flags = ["--no-enable-prefix-caching", f"--structured-outputs-config.backend={spec.backend}"]
    return hosted(
        spec.engine,
        spec.model,
        folder=record.folder,
        device=device,
        extra=flags,
        random_weights=spec.random_weights,
        ending=record.others.ending,
    )


class Questions:
    """Asks a server for both kinds of answers."""

    def __init__(self, spec: StructuredSpec, url: str, schema: Mapping[str, Any]) -> None:
        self.spec, self.url, self.schema = spec, url, schema
        self.model = NAME
        if spec.url is not None:
            self.model = spec.served_model or the_model(LoadSpec(url=url, model="-"))
        self.nonce = drawn_nonce()  # a grammar that a server has compiled once is found again
        self.words = prompt_words(located(spec.model))
        self.own = read_prompts(spec.prompts) if spec.prompts else None

    def prompts(self, number: int) -> tuple[list[int], list[str]]:
        """Return the numbers and the texts of the prompts of a round, those of requests alone at the end."""
        n = self.spec.n_requests + TIMES_ALONE * len(ALONE)
        numbers = [number * n + i for i in range(n)]
        if self.own is not None:
            numbers = [i % len(self.own) for i in numbers]
            return numbers, [self.own[i] for i in numbers]
        rng = random.Random(f"{self.spec.seed} {number} {self.nonce if self.spec.url else 0}")
        return numbers, prompts_of(self.words, n, n_tokens=self.spec.input_tokens, rng=rng)

    def body(self, prompt: str, *, title: str | None) -> dict[str, object]:
        """Return a request; a title that was not used before makes the server compile its grammar anew, and None asks for a plain answer."""
        asked: dict[str, object] = {
            "model": self.model,
            "prompt": prompt,
            "max_tokens": self.spec.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if title is None:
            return asked
        wanted = {"name": "answer", "schema": {**self.schema, "title": title}}
        return asked | {"response_format": {"type": "json_schema", "json_schema": wanted}}

    def warm(self) -> None:
        """Ask for one answer of each kind: what loads at the first grammar of all is no cost of a schema.

        Raises:
            NotAvailable: The server refuses the schema; one that ignores it is seen by the valid share.
        """
        _, prompts = self.prompts(-1)
        plain, structured = (self.body(prompts[0], title=t) | {"stream_options": None} for t in (None, "warm"))
        require_answer(self.url, plain, what=f"completions of the model {self.model}")
        require_answer(self.url, structured, what="the schema")

    def round(self, number: int) -> StructuredRound:
        """Ask alone for plain answers and twice for ones with each new schema, and then both kinds under a load."""
        spec, title = self.spec, f"round {number} {self.nonce}"
        numbers, texts = self.prompts(number)
        rng = random.Random(f"{spec.seed} {number}")
        due_s = poisson_due_s(spec.n_requests, rate_per_s=spec.rate_per_s, rng=rng)
        alone: dict[str, list[float]] = {name: [] for name in ALONE}
        for i, prompt in enumerate(texts[spec.n_requests :]):
            name, own = ALONE[i % len(ALONE)], f"{title} alone {i // len(ALONE)}"
            (outcome,) = self._asked([0.0], [self.body(prompt, title=None if name == "plain" else own)])
            if outcome.ttft_s is None:
                raise NotAvailable(
                    gettext("A request alone was not answered: {error}.").format(error=outcome.error),
                    remedy=gettext("The server's log says why."),
                )
            alone[name].append(outcome.ttft_s)
        self._asked([0.0], [self.body(texts[-1], title=title)])  # the grammar of the load is compiled before it
        order, kinds = list(KINDS), dict[str, KindRound]()
        rng.shuffle(order)
        for kind in order:
            bodies = [self.body(p, title=None if kind == "plain" else title) for p in texts[: spec.n_requests]]
            outcomes = self._asked(due_s, bodies)
            kinds[kind] = KindRound(
                times=times_of(outcomes),
                prompts=tuple(numbers[: spec.n_requests]),
                valid=tuple(o.error is None and fits(o.text or "", self.schema) for o in outcomes),
                cut=tuple(o.n_tokens >= spec.output_tokens for o in outcomes),
            )
        return StructuredRound(alone_s={name: median(found) for name, found in alone.items()}, kinds=kinds)

    def _asked(self, due_s: Sequence[float], bodies: Sequence[Mapping[str, object]]) -> list[Outcome]:
        return ask_all(self.url, calls_of(due_s, bodies), keys={}, patience_s=PATIENCE_S, keeps_text=True)


def answers_row(kind: str, rounds: Sequence[KindRound]) -> AnswersOfKind:
    """Return what the answers of one kind are; a prompt that was asked again is counted once."""
    by_prompt = {n: ok for r in rounds for n, ok, t in zip(r.prompts, r.valid, r.times.ttft_s, strict=True) if t}
    ttft_s = [t for r in rounds for t in r.times.ttft_s]
    n_answered = sum(t is not None for t in ttft_s)
    if not n_answered:
        raise NotAvailable(
            gettext("No {kind} answer came: {failure}.").format(kind=kind, failure=rounds[0].times.failure),
            remedy=gettext("The server's log says why."),
        )
    return AnswersOfKind(
        variant="plain" if kind == "plain" else "structured",
        valid=share_interval(sum(by_prompt.values()), len(by_prompt)),
        n_prompts=len(by_prompt),
        cut_fraction=sum(c for r in rounds for c in r.cut) / n_answered,
        tokens_per_answer=sum(r.times.output_tokens for r in rounds) / n_answered,
        ttft_p50_s=quantile_s(ttft_s, 0.5),
        ttft_p99_s=quantile_s(ttft_s, 0.99),
        tpot_p50_s=quantile_s([t for r in rounds for t in r.times.tpot_s], 0.5),
        n_requests=len(ttft_s),
        n_failed=sum(r.times.n_failed for r in rounds),
    )


def cost_row(rounds: Sequence[StructuredRound]) -> StructureCost:
    """Return what a schema adds to the times of plain answers in the same rounds."""

    def extra(name: str) -> Interval:
        return median_over_rounds(np.array([r.alone_s[name] - r.alone_s["plain"] for r in rounds]))

    plain, structured = ([r.kinds[kind].times for r in rounds] for kind in KINDS)
    ttft, tpot = (ratio_over(structured, plain, figure) for figure in (median_ttft_s, median_tpot_s))
    if ttft is None or tpot is None:
        raise NotAvailable(gettext("No round has answers of both kinds."), remedy=gettext("The server's log says why."))
    return StructureCost(first_extra_s=extra("first"), later_extra_s=extra("later"), ttft_ratio=ttft, tpot_ratio=tpot)
