"""Adapters on vLLM: one server for each rank and number of slots, and rounds of loads on the base model and on its adapters."""

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from workbench.catalog.models import language_model_from
from workbench.catalog.paths import located
from workbench.core.errors import NotAvailable, WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import Interval, median_over_rounds
from workbench.engines.hosted import NAME, Hosted, hosted
from workbench.engines.random_adapter import write_random_adapter
from workbench.estimate.adapters import adapter_bytes
from workbench.load.ask import Asker
from workbench.load.crowd import ask_all
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
    require_answer,
    times_of,
    tokens_per_s,
)
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import Record
from workbench.questions.tuning.adapters.rows import AdapterLoad, AdapterServer, AdaptersSamples
from workbench.questions.tuning.adapters.spec import RANKS, AdaptersSpec, rank_of
from workbench.telemetry.devices import chosen_device

Variant = tuple[int, float]
"""Number of adapters in use, and the Zipf exponent of their use; 0 adapters are the base model."""
BASE: Variant = (0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a server calls its models."""

    base: str
    adapters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRound:
    """One round of a variant, as a resumed measurement finds it."""

    at_rate: RoundTimes
    at_once: RoundTimes
    missed: tuple[bool, ...]
    """Of each request at the rate: whether its adapter was in no slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRound:
    """One round of all variants."""

    variants: Mapping[str, VariantRound]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A server as a resumed measurement finds it."""

    row: AdapterServer
    version: str | None


def measure(spec: AdaptersSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record: for each rank and number of slots a server, and rounds of all variants on it."""
    record.device = chosen_device(spec.device)
    servers = [(rank, slots) for rank in ranks(spec) for slots in sorted(set(spec.slots))]
    total, throughputs, ttfts = float(len(servers) * (spec.rounds + 1)), dict[str, list[float | None]](), {}
    for i, (rank, slots) in enumerate(servers):
        name = f"rank {rank} slots {slots}"
        done = float(i * (spec.rounds + 1))
        keys = [f"{name} round {number}" for number in range(spec.rounds)]
        rounds = [record.kept.read(key, AdapterRound) for key in keys]
        if any(r is None for r in rounds):
            yield Progress(step=gettext_noop("starting a server for {name}").format(name=name), done=done, total=total)
            with served(spec, record, rank=rank, slots=slots) as (server, names):
                record.kept.write(name, Started(row=_server_row(spec, server, rank, slots), version=server.version))
                used = warmed(spec, server.url, names)
                for number, key in enumerate(keys):
                    yield Progress(
                        step=gettext_noop("{name}: round {number}").format(name=name, number=number + 1),
                        done=done + 1 + number,
                        total=total,
                    )
                    if rounds[number] is None:
                        rounds[number] = asked_round(spec, server.url, names, number=number, slots=slots, used=used)
                        record.kept.write(key, rounds[number])
        started = record.kept.read(name, Started)
        assert started is not None
        if started.version:
            record.packages["vllm"] = started.version.removeprefix("vLLM ")
        record.rows.append(started.row)
        finished = [r for r in rounds if r is not None]
        for variant in variants(spec):
            key = f"{name} {label(variant)}"
            own, base = ([r.variants[label(v)] for r in finished] for v in (variant, BASE))
            record.rows.append(load_row(own, base, variant=variant, rank=rank, slots=slots))
            throughputs[key] = [
                _over(tokens_per_s(a.at_once), tokens_per_s(b.at_once)) for a, b in zip(own, base, strict=True)
            ]
            ttfts[key] = [None if t is None else round(t, 4) for r in own for t in r.at_rate.ttft_s]
    record.samples = AdaptersSamples(throughput_ratios=throughputs, ttft_s=ttfts)


def ranks(spec: AdaptersSpec) -> list[int | None]:
    """Return the ranks that servers are started for: those asked for, the least that the reader's adapters need, or None for a running server."""
    if spec.url is not None:
        return [None]
    if spec.adapters:
        most = max(rank_of(folder) for folder in spec.adapters)
        return [next(r for r in RANKS if r >= most)]
    return [*sorted(set(spec.ranks))]


def variants(spec: AdaptersSpec) -> list[Variant]:
    """Return the base model, and each number of adapters with each skew; a single adapter has none."""
    counts = sorted(set(spec.counts))
    return [BASE, *((n, s) for n in counts for s in (sorted(set(spec.skews)) if n > 1 else (0.0,)))]


def label(variant: Variant) -> str:
    """Return a name for parts of a measurement."""
    return f"{variant[0]} adapters skew {variant[1]:g}"


@contextmanager
def served(spec: AdaptersSpec, record: Record, *, rank: int | None, slots: int) -> Iterator[tuple[Hosted, Names]]:
    """Give a server with adapters: the reader's own, or one that is started with random or named ones."""
    if spec.url is not None or rank is None:
        assert spec.url is not None
        yield Hosted(url=spec.url), listed_names(spec.url, most=max(spec.counts))
        return
    folders = _folders(spec, record.folder / "adapters", rank=rank)
    names = Names(base=NAME, adapters=tuple(f"adapter-{i}" for i in range(len(folders))))
    device = chosen_device(spec.device).kind
    modules = [f"{n}={f}" for n, f in zip(names.adapters, folders, strict=True)]
    flags = [*server_flags(rank=rank, slots=slots, most=len(folders)), "--no-enable-prefix-caching"]
    with hosted(
        "vllm",
        spec.model,
        folder=record.folder,
        device=device,
        extra=[*flags, "--lora-modules", *modules],
        random_weights=spec.random_weights,
        ending=record.others.ending,
    ) as server:
        yield server, names


def server_flags(*, rank: int, slots: int, most: int) -> list[str]:
    """Return vLLM's flags for adapters of a rank; ``most`` of them stay in the host's memory."""
    kept = str(max(slots, most))
    return ["--enable-lora", "--max-loras", str(slots), "--max-lora-rank", str(rank), "--max-cpu-loras", kept]


def _folders(spec: AdaptersSpec, home: Path, *, rank: int) -> list[Path]:
    most = max(spec.counts)
    if spec.adapters:
        return [Path(f).expanduser() for f in spec.adapters[:most]]
    model = language_model_from(spec.model)
    return [write_random_adapter(home / f"rank-{rank}-{i}", model, rank=rank, seed=spec.seed + i) for i in range(most)]


def listed_names(url: str, *, most: int) -> Names:
    """Return the base model and the first adapters that a server lists; raises ``NotAvailable`` where they are too few."""
    try:
        with Asker(LoadSpec(url=url, model="-")) as asker:
            listed = orjson.loads(asker.ask("GET", asker.address.versioned("/models")).body)["data"]
        found = [(str(m["id"]), m.get("parent")) for m in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAvailable(
            gettext("{url} lists no models.").format(url=url), remedy=gettext("Check the URL.")
        ) from error
    base, adapters = [i for i, parent in found if not parent], [i for i, parent in found if parent]
    if not base or len(adapters) < most:
        cause = (
            gettext("The server at {url} lists {n} adapters, and {most} are to be in use.")
            if adapters
            else gettext("The server at {url} lists no adapters, and {most} are to be in use.")
        )
        raise NotAvailable(
            cause.format(url=url, n=len(adapters), most=most),
            remedy=gettext(
                "Start it with --enable-lora --lora-modules NAME=FOLDER for each, or give smaller numbers with --counts."
            ),
        )
    return Names(base=base[0], adapters=tuple(adapters[:most]))


def body_of(spec: AdaptersSpec, model: str, prompt: str) -> dict[str, object]:
    """Return a request for an answer of the full length."""
    fixed = {"temperature": 0, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    return {"model": model, "prompt": prompt, "max_tokens": spec.output_tokens, **fixed}


def warmed(spec: AdaptersSpec, url: str, names: Names) -> list[str]:
    """Ask the base model and each adapter once, and return the adapters in the order of their use."""
    rng, words = random.Random(f"warm {spec.seed}"), _words(spec)
    for model in (names.base, *names.adapters):
        (prompt,) = prompts_of(words, 1, n_tokens=spec.input_tokens, rng=rng)
        require_answer(url, body_of(spec, model, prompt) | {"stream_options": None}, what=f"the model {model}")
    return list(names.adapters)


def _words(spec: AdaptersSpec) -> list[str]:
    return prompt_words(located(spec.model))


def asked_round(
    spec: AdaptersSpec, url: str, names: Names, *, number: int, slots: int, used: list[str]
) -> AdapterRound:
    """Ask all variants once, in an order drawn anew; they share the times of arrival.

    ``used`` holds the adapters by their last use, and is brought up to date.
    """
    order, words, found = variants(spec), _words(spec), dict[str, VariantRound]()
    random.Random(f"order {spec.seed} {number}").shuffle(order)
    due_s = poisson_due_s(spec.n_requests, rate_per_s=spec.rate_per_s, rng=random.Random(f"due {spec.seed} {number}"))
    for variant in order:
        nonce = drawn_nonce() if spec.url else 0  # a running server may keep the prompts of an earlier run
        rng = random.Random(f"{spec.seed} {number} {label(variant)} {nonce}")
        asked = []
        for times in (due_s, [0.0] * spec.n_requests):
            models = picked(names, variant, n=spec.n_requests, rng=rng)
            missed = misses(models, used, slots=slots) if variant != BASE else (False,) * len(models)
            prompts = prompts_of(words, spec.n_requests, n_tokens=spec.input_tokens, rng=rng)
            bodies = [body_of(spec, m, p) for m, p in zip(models, prompts, strict=True)]
            outcomes = ask_all(url, calls_of(times, bodies), keys={}, patience_s=PATIENCE_S, keeps_text=True)
            asked.append((times_of(outcomes), missed))
        (at_rate, missed), (at_once, _) = asked
        if at_rate.n_failed == spec.n_requests:
            raise WorkbenchError(
                gettext("No request of {label} was answered: {failure}.").format(
                    label=label(variant), failure=at_rate.failure
                ),
                remedy=gettext("The server's log says why."),
            )
        found[label(variant)] = VariantRound(at_rate=at_rate, at_once=at_once, missed=missed)
    return AdapterRound(variants=found)


def zipf_shares(n: int, skew: float) -> list[float]:
    """Return the shares of ``n`` adapters in the requests, the most used first."""
    weights = [1 / k**skew for k in range(1, n + 1)]
    return [w / sum(weights) for w in weights]


def picked(names: Names, variant: Variant, *, n: int, rng: random.Random) -> list[str]:
    """Return the model of each of ``n`` requests."""
    n_adapters, skew = variant
    if not n_adapters:
        return [names.base] * n
    return rng.choices(names.adapters[:n_adapters], zipf_shares(n_adapters, skew), k=n)


def misses(models: Sequence[str], used: list[str], *, slots: int) -> tuple[bool, ...]:
    """Return which requests find their adapter in no slot, where the least recently used one makes room.

    Args:
        models: Adapter of each request in the order of arrival.
        used: Adapters by their last use, the latest last; brought up to date.
        slots: Adapters that have a place.
    """
    found = []
    for model in models:
        found.append(model not in used[-slots:])
        if model in used:
            used.remove(model)
        used.append(model)
    return tuple(found)


def load_row(
    own: Sequence[VariantRound], base: Sequence[VariantRound], *, variant: Variant, rank: int | None, slots: int
) -> AdapterLoad:
    """Return what the rounds of a variant say beside those of the base model."""
    rate, once = [r.at_rate for r in own], [r.at_once for r in own]
    base_rate, base_once = [r.at_rate for r in base], [r.at_once for r in base]
    ttft_s = [t for r in rate for t in r.ttft_s]
    missed, is_base = [m for r in own for m in r.missed], variant == BASE
    return AdapterLoad(
        rank=rank,
        slots=slots,
        n_adapters=variant[0],
        skew=variant[1],
        ttft_p50_s=quantile_s(ttft_s, 0.5),
        ttft_p99_s=quantile_s(ttft_s, 0.99),
        tpot_p50_s=quantile_s([t for r in rate for t in r.tpot_s], 0.5),
        output_tokens_per_s=quantile_s([tokens_per_s(r) for r in once], 0.5),
        n_requests=len(ttft_s),
        n_failed=sum(r.n_failed for r in (*rate, *once)),
        ttft_ratio=None if is_base else ratio_over(rate, base_rate, median_ttft_s),
        tpot_ratio=None if is_base else ratio_over(rate, base_rate, median_tpot_s),
        throughput_ratio=None if is_base else ratio_over(once, base_once, tokens_per_s),
        missed_fraction=sum(missed) / len(missed),
        missed_extra_s=missed_extra(own),
    )


def missed_extra(rounds: Sequence[VariantRound]) -> Interval | None:
    """Return the median TTFT of requests that missed less that of those that did not, over rounds with both."""
    extra = []
    for r in rounds:
        pairs = list(zip(r.at_rate.ttft_s, r.missed, strict=True))
        late, soon = (quantile_s([t for t, m in pairs if m is kind], 0.5) for kind in (True, False))
        if late is not None and soon is not None:
            extra.append(late - soon)
    return median_over_rounds(np.array(extra)) if extra else None


def _over(value: float | None, base: float | None) -> float | None:
    return round(value / base, 4) if value is not None and base else None


def _server_row(spec: AdaptersSpec, server: Hosted, rank: int | None, slots: int) -> AdapterServer:
    bits = 32 if chosen_device(spec.device).kind == "cpu" else 16
    known = rank is not None
    return AdapterServer(
        rank=rank,
        slots=slots,
        adapter_bytes=adapter_bytes(language_model_from(spec.model), rank=rank or 1, bits=bits) if known else None,
        cache_tokens=server.cache_tokens,
        startup_s=server.startup_s,
    )
