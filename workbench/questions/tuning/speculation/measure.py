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
from workbench.core.progress import Progress
from workbench.core.statistics import Floats, block_bootstrap, median_over_rounds
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
    yield Progress(step="loading", done=0, total=total)
    texts = texts_of(spec)
    draft = located(spec.draft_model) if "draft" in spec.methods else None
    if draft is not None:
        require_same_tokens(located(spec.model), draft)
    bench = SpeculationBench(
        located(spec.model), draft=draft, device=device.kind, shortest=spec.shortest, longest=spec.longest
    )
    texts |= {"random": np.random.default_rng(spec.seed).integers(0, bench.n_words, (spec.n_texts, spec.prompt_tokens))}
    texts = {name: texts[name] for name in ((OWN,) if spec.text else ()) + spec.classes}
    per_text: dict[str, list[float]] = {}
    timed: dict[tuple[str, int], Floats] = {}
    proposing: dict[tuple[str, int], float] = {}
    for n, (method, k) in enumerate(variants(spec), 1):
        yield Progress(step=f"acceptance of {method} with {k}", done=n, total=total)
        for name, prompts in texts.items():
            done = bench.continued(prompts, variants=[(method, k)], steps=spec.steps)[method, k]
            row = acceptance(done, method=method, k=k, text_class=name, seed=spec.seed)
            record.rows.append(row)
            each = 1 + done.accepted.mean(axis=0)
            per_text[f"{method} {k} {name}"] = each.tolist()
            if name == spec.timed_class:
                timed[method, k], proposing[method, k] = each, row.proposing_fraction
    rounds = Rounds()
    rng = random.Random(spec.seed)
    for number in range(spec.rounds):
        for i, batch in enumerate(spec.batches):
            done_before = 1 + len(variants(spec)) + number * len(spec.batches) + i
            yield Progress(step=f"round {number + 1}, batch {batch}", done=done_before, total=total)
            rounds.add(bench, texts[spec.timed_class], spec, batch=batch, rng=rng)
    record.rows += rounds.times()
    record.rows += rounds.speedups(spec, timed, proposing)
    gained = {f"{m} {k} {b}": v for (m, k, b), v in rounds.ratios.items()}
    record.samples = SpeculationSamples(speedups=gained, tokens_per_step=per_text)


def require_same_tokens(model: str, draft: str) -> None:
    """Raise ``InvalidSpec`` where a draft model splits text into other tokens than the model; one without a tokenizer is taken to split alike."""
    text = read_text(None, default=CHAT_TEXT)
    if has_tokenizer(draft) and not np.array_equal(token_ids(model, text), token_ids(draft, text)):
        raise InvalidSpec(
            f"{Path(draft).name} has another tokenizer than {Path(model).name}, so that it cannot draft for it.",
            remedy="Choose a draft model that was made with the model's tokenizer.",
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
                    f"The {name} text has {ids.size:,} tokens, enough for {n} prompts of {spec.prompt_tokens}.",
                    remedy="Give a longer text, shorter prompts or smaller batches.",
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
    """Times and speed-ups of each round."""

    parts: dict[tuple[int, str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds by batch, part and draft tokens."""
    ratios: dict[tuple[str, int, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    """Speed-ups by method, draft tokens and batch."""
    equal: dict[tuple[str, int, int], int] = field(default_factory=dict)

    def add(
        self, bench: SpeculationBench, prompts: Ids, spec: SpeculationSpec, *, batch: int, rng: random.Random
    ) -> None:
        """Time each part and each loop once, in an order drawn anew."""
        groups = groups_of(prompts, batch)
        calls = max(CALLS, CALLS_TOKENS // batch)
        ks = sorted({k for _, k in variants(spec)})
        parts = [("verify", 0), *(("verify", k) for k in ks), *variants(spec)]
        loops = [("plain", 0), *variants(spec)]
        rng.shuffle(parts)
        rng.shuffle(loops)
        of = groups[rng.randrange(len(groups))]
        for (what, k), seconds in bench.parts_s(of, parts=parts, calls=calls).items():
            self.parts[batch, what, k].append(seconds)
        done = [bench.continued(g, variants=loops, steps=spec.steps) for g in groups]
        plain = [d["plain", 0] for d in done]
        for m, k in variants(spec):
            own = [d[m, k] for d in done]
            self.ratios[m, k, batch].append(_rate(own) / _rate(plain))
            self.equal[m, k, batch] = sum(map(_n_equal, own, plain))

    def times(self) -> list[StepTime]:
        """Return the time of each part."""
        return [
            StepTime(batch=b, what=what, draft_tokens=k, p50_s=median_over_rounds(np.array(seconds)))
            for (b, what, k), seconds in sorted(self.parts.items())
        ]

    def speedups(
        self, spec: SpeculationSpec, timed: Mapping[tuple[str, int], Floats], proposing: Mapping[tuple[str, int], float]
    ) -> list[SpeedUp]:
        """Return the speed-ups beside what the tokens of a step and the times of its parts predict."""
        rows = []
        for m, k in variants(spec):
            for batch in spec.batches:
                n = n_timed(len(timed[m, k]), batch)
                per_step = float(timed[m, k][:n].mean())
                plain, verify, draft = (
                    median_over_rounds(np.array(self.parts[batch, what, i])).value
                    for what, i in (("verify", 0), ("verify", k), (m, k))
                )
                rows.append(
                    SpeedUp(
                        method=m,
                        draft_tokens=k,
                        batch=batch,
                        tokens_per_step=per_step,
                        predicted=predicted_speedup(
                            per_step,
                            plain_s=plain,
                            verify_s=verify,
                            draft_s=draft,
                            proposing_fraction=1 - (1 - proposing[m, k]) ** batch,
                        ),
                        measured=median_over_rounds(np.array(self.ratios[m, k, batch])),
                        n_texts=n,
                        n_equal=self.equal[m, k, batch],
                    )
                )
        return rows


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
