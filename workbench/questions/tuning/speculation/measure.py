"""Speculative decoding with our own loops: what is accepted, what each part of a step takes, and what is gained."""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workbench.catalog.paths import DATA, HELD_OUT_TEXT, located
from workbench.compress.folder import has_tokenizer, token_ids
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.statistics import block_bootstrap, median_over_rounds
from workbench.measuring.envelope import Record
from workbench.measuring.text import Ids, read_text, windows_of
from workbench.questions.tuning.speculation.rows import Acceptance, SpeculationSamples, SpeedUp, StepTime
from workbench.questions.tuning.speculation.spec import OWN, SpeculationSpec
from workbench.speculate.bench import Continued, SpeculationBench, repeated_fraction
from workbench.telemetry.devices import chosen_device

CHAT_TEXT = DATA / "text" / "chat.txt"
FIRST_CODE = '"""A generic class to build line-oriented command interpreters.'
"""Where the documentation ends in the held-out text, and source begins."""
LEAST_TEXTS = 8
"""Texts that are timed at smaller batches, one batch after the other."""
CALLS, CALLS_TOKENS = 3, 48
"""Least calls over which the time of a part is averaged, and sequences in them."""


def measure(spec: SpeculationSpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record: acceptance first, then rounds of times and loops."""
    device = record.device = chosen_device(spec.device)
    total = 1 + len(variants(spec)) + spec.rounds * len(spec.batches)
    yield Progress(step=gettext_noop("loading"), done=0, total=total)
    texts = texts_of(spec)
    draft = located(spec.draft_model) if "draft" in spec.methods else None
    if draft is not None:
        require_same_tokens(located(spec.model), draft)
    bench = SpeculationBench(
        located(spec.model), draft=draft, device=device.kind, shortest=spec.shortest, longest=spec.longest
    )
    texts |= {"random": np.random.default_rng(spec.seed).integers(0, bench.n_words, (spec.n_texts, spec.prompt_tokens))}
    texts = {name: texts[name] for name in ((OWN,) if spec.text else ()) + spec.classes}
    accepted: dict[str, AcceptancePart] = {}
    for n, (method, k) in enumerate(variants(spec), 1):
        yield Progress(
            step=gettext_noop("acceptance of {method} with {k}").format(method=method, k=k), done=n, total=total
        )
        for name, prompts in texts.items():
            key = f"{method} {k} {name}"
            accepted[key] = record.kept.once(
                f"acceptance {key}", AcceptancePart, accept, bench, prompts, spec, variant=(method, k), text_class=name
            )
    rounds = Rounds()
    for number in range(spec.rounds):
        for i, batch in enumerate(spec.batches):
            done = 1 + len(variants(spec)) + number * len(spec.batches) + i
            yield Progress(
                step=gettext_noop("round {number}, batch {batch}").format(number=number + 1, batch=batch),
                done=done,
                total=total,
            )
            part = record.kept.once(
                f"round {number} {batch}",
                RoundPart,
                time_round,
                bench,
                texts[spec.timed_class],
                spec,
                batch=batch,
                number=number,
            )
            rounds.add(part, batch)
    timed = {(m, k): accepted[f"{m} {k} {spec.timed_class}"] for m, k in variants(spec)}
    record.rows += [part.row for part in accepted.values()]
    record.rows += rounds.times()
    record.rows += rounds.speedups(spec, timed)
    record.samples = SpeculationSamples(
        speedups={f"{what} {batch}": v for (batch, what), v in rounds.ratios.items()},
        tokens_per_step={key: part.tokens_per_step for key, part in accepted.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptancePart:
    """What a variant accepts on one kind of text, as a resumed measurement finds it."""

    row: Acceptance
    tokens_per_step: tuple[float, ...]
    """Of each text."""
    proposing: tuple[float, ...]
    """Share of the steps in which anything was proposed, of each text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPart:
    """Times of one round at one batch size, as a resumed measurement finds it."""

    seconds: Mapping[str, float]
    """Time of each part of a step, by "verify" or the method, and the draft tokens."""
    ratios: Mapping[str, float]
    """Speed-up of each variant."""
    equal: Mapping[str, int]
    """Texts with the answers of plain decoding, by variant."""


def accept(
    bench: SpeculationBench, prompts: Ids, spec: SpeculationSpec, *, variant: tuple[str, int], text_class: str
) -> AcceptancePart:
    """Return what a variant accepts on texts of one kind."""
    done = bench.continued(prompts, variants=[variant], steps=spec.steps)[variant]
    row = acceptance(done, method=variant[0], k=variant[1], text_class=text_class, seed=spec.seed)
    return AcceptancePart(
        row=row,
        tokens_per_step=tuple((1 + done.accepted.mean(axis=0)).tolist()),
        proposing=tuple((done.proposed > 0).mean(axis=0).tolist()),
    )


def time_round(bench: SpeculationBench, prompts: Ids, spec: SpeculationSpec, *, batch: int, number: int) -> RoundPart:
    """Time each part of a step and each variant once, in an order drawn anew."""
    rng, groups = random.Random(f"{spec.seed}-{number}-{batch}"), groups_of(prompts, batch)
    parts = [("verify", 0), *(("verify", k) for k in sorted(set(spec.draft_tokens))), *variants(spec)]
    loops = [("plain", 0), *variants(spec)]
    rng.shuffle(parts)
    rng.shuffle(loops)
    of, calls = groups[rng.randrange(len(groups))], max(CALLS, CALLS_TOKENS // batch)
    seconds = bench.parts_s(of, parts=parts, calls=calls)
    done = [bench.continued(g, variants=loops, steps=spec.steps) for g in groups]
    plain = [d["plain", 0] for d in done]
    own = {f"{m} {k}": [d[m, k] for d in done] for m, k in variants(spec)}
    return RoundPart(
        seconds={f"{what} {k}": s for (what, k), s in seconds.items()},
        ratios={name: _rate(d) / _rate(plain) for name, d in own.items()},
        equal={name: sum(map(_n_equal, d, plain)) for name, d in own.items()},
    )


def require_same_tokens(model: str, draft: str) -> None:
    """Raise ``InvalidSpec`` where a draft model splits text into other tokens than the model; one without a tokenizer is taken to split alike."""
    text = read_text(None, default=CHAT_TEXT)
    if has_tokenizer(draft) and not np.array_equal(token_ids(model, text), token_ids(draft, text)):
        raise InvalidSpec(
            gettext("{draft} has another tokenizer than {model}, so that it cannot draft for it.").format(
                draft=Path(draft).name, model=Path(model).name
            ),
            remedy=gettext("Choose a draft model that was made with the model's tokenizer."),
        )


def variants(spec: SpeculationSpec) -> list[tuple[str, int]]:
    """Return each method with each number of draft tokens."""
    return [(m, k) for m in spec.methods for k in sorted(set(spec.draft_tokens))]


def texts_of(spec: SpeculationSpec) -> dict[str, Ids]:
    """Return windows of each kind of text: (texts, tokens); random tokens come from the model's vocabulary later."""
    place = located(spec.model)
    written: dict[str, str] = {}
    if spec.text:
        written[OWN] = read_text(spec.text, default=CHAT_TEXT)
    held_out = read_text(None, default=HELD_OUT_TEXT)
    prose, mark, code = held_out.partition(FIRST_CODE)
    written |= {"prose": prose, "code": mark + code, "chat": read_text(None, default=CHAT_TEXT)}
    texts = {}
    for name, text in written.items():
        if name == OWN or name in spec.classes:
            ids = token_ids(place, text)
            n = min(spec.n_texts, ids.size // spec.prompt_tokens)
            if n < 2 or (name == spec.timed_class and n < max(spec.batches)):
                raise InvalidSpec(
                    gettext("The {name} text has {tokens} tokens, enough for {n} prompts of {length}.").format(
                        name=name, tokens=f"{ids.size:,}", n=n, length=spec.prompt_tokens
                    ),
                    remedy=gettext("Give a longer text, shorter prompts or smaller batches."),
                )
            texts[name] = windows_of(ids, n=n, length=spec.prompt_tokens, what=name)
    return texts


def acceptance(done: Continued, *, method: str, k: int, text_class: str, seed: int) -> Acceptance:
    """Return what was accepted, with intervals over texts: the tokens of one text are no independent trials."""
    accepted, proposed = done.accepted, done.proposed
    of_text, guesses, steps = accepted.sum(axis=0), proposed.sum(axis=0), accepted.shape[0]

    def share(drawn: Ids) -> float:
        n = float(guesses[drawn].sum())
        return float(of_text[drawn].sum()) / n if n else 0.0

    n = accepted.shape[1]
    return Acceptance(
        method=method,
        draft_tokens=k,
        text_class=text_class,
        n_texts=n,
        tokens_per_step=block_bootstrap(
            n, lambda i: 1 + float(of_text[i].mean()) / steps, seed=seed, resamples=400, within=(1.0, k + 1.0)
        ),
        accepted_fraction=block_bootstrap(n, share, seed=seed, resamples=400, within=(0.0, 1.0)),
        by_position=tuple(float((accepted >= i).mean()) for i in range(1, k + 1)),
        proposing_fraction=float((proposed > 0).mean()),
        repeated_fraction=repeated_fraction(done.answers),
    )


def predicted_speedup(
    tokens_per_step: float, *, plain_s: float, verify_s: float, draft_s: float, proposing_fraction: float = 1.0
) -> float:
    """Return output tokens per second with drafts over those without.

    Args:
        tokens_per_step: Tokens that a step writes to a text.
        plain_s: Time of a step without drafts.
        verify_s: Time of a step that verifies drafts.
        draft_s: Time in which they are made.
        proposing_fraction: Share of the steps that have any draft; the others are plain.
    """
    step_s = proposing_fraction * verify_s + (1 - proposing_fraction) * plain_s + draft_s
    return tokens_per_step * plain_s / step_s


@dataclass(slots=True)
class Rounds:
    """Times and speed-ups of all rounds."""

    parts: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds by batch, and by part with its draft tokens."""
    ratios: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Speed-ups by batch, and by method with its draft tokens."""
    equal: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, part: RoundPart, batch: int) -> None:
        """Take what a round has measured."""
        for what, seconds in part.seconds.items():
            self.parts[batch, what].append(seconds)
        for what, ratio in part.ratios.items():
            self.ratios[batch, what].append(ratio)
            self.equal[batch, what] = part.equal[what]

    def times(self) -> list[StepTime]:
        """Return the time of each part."""
        rows = []
        for (batch, name), seconds in sorted(self.parts.items()):
            what, _, k = name.partition(" ")
            p50_s = median_over_rounds(np.array(seconds))
            rows.append(StepTime(batch=batch, what=what, draft_tokens=int(k), p50_s=p50_s))
        return rows

    def speedups(self, spec: SpeculationSpec, timed: Mapping[tuple[str, int], AcceptancePart]) -> list[SpeedUp]:
        """Return the speed-ups beside what the tokens of a step and the times of its parts predict."""
        return [
            self._speedup(variant, batch, accepted) for variant, accepted in timed.items() for batch in spec.batches
        ]

    def _speedup(self, variant: tuple[str, int], batch: int, accepted: AcceptancePart) -> SpeedUp:
        name = f"{variant[0]} {variant[1]}"
        n = n_timed(len(accepted.tokens_per_step), batch)
        per_step = float(np.mean(accepted.tokens_per_step[:n]))
        groups = [accepted.proposing[i : i + batch] for i in range(0, n, batch)]
        plain, verify, draft = (
            median_over_rounds(np.array(self.parts[batch, what])).value
            for what in ("verify 0", f"verify {variant[1]}", name)
        )
        predicted = predicted_speedup(
            per_step,
            plain_s=plain,
            verify_s=verify,
            draft_s=draft,
            proposing_fraction=float(np.mean([1 - np.prod(1 - np.array(g)) for g in groups])),
        )
        return SpeedUp(
            method=variant[0],
            draft_tokens=variant[1],
            batch=batch,
            tokens_per_step=per_step,
            predicted=predicted,
            measured=median_over_rounds(np.array(self.ratios[batch, name])),
            n_texts=n,
            n_equal=self.equal[batch, name],
        )


def n_timed(n_texts: int, batch: int) -> int:
    """Return how many texts are timed at a batch size: whole batches, of at least ``LEAST_TEXTS`` texts where there are so many."""
    return batch * max(1, min(LEAST_TEXTS, n_texts) // batch)


def groups_of(prompts: Ids, batch: int) -> list[Ids]:
    """Return the batches that are timed: (batch, tokens) each."""
    return [prompts[i : i + batch] for i in range(0, n_timed(len(prompts), batch), batch)]


def _rate(batches: Sequence[Continued]) -> float:
    return sum(b.n_tokens for b in batches) / sum(b.seconds for b in batches)


def _n_equal(own: Continued, plain: Continued) -> int:
    return sum(a[: len(b)] == b[: len(a)] for a, b in zip(own.answers, plain.answers, strict=True))
