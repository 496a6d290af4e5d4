"""Retrieval by depth and length, and surprise by position, for full attention and what is cheaper than it."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from workbench.attention.in_model import Divergence, LongModel
from workbench.attention.techniques import best_technique
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.folder import prefix_ids, token_ids, token_text
from workbench.compress.kv_quant import RoundedCache, require_kv_cache
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.language import gettext
from workbench.core.ports import Generation
from workbench.core.progress import Progress
from workbench.core.rows import Failure, Row
from workbench.core.statistics import Floats, Interval, block_bootstrap, mcnemar_p, share_interval
from workbench.engines.http import HttpEngine
from workbench.measuring.envelope import Record
from workbench.measuring.text import Ids, read_text, windows_of
from workbench.questions.long_context.quality.retrieval import Question, question_of
from workbench.questions.long_context.quality.rows import (
    AgainstFull,
    QualitySamples,
    Retrieval,
    TextStretch,
    VariantResult,
)
from workbench.questions.long_context.quality.spec import FULL, SERVED, ContextQualitySpec, Variant, check_lengths
from workbench.telemetry.devices import chosen_device

EXTRA_TOKENS = 6  # beyond the expected answer
BATCH_TOKENS = {"cpu": 16_384, "cuda": 200_000}
POSITION_BINS = 16


def measure(spec: ContextQualitySpec, record: Record) -> Iterator[Progress]:
    """Yield the progress and fill the record; finished variants are kept, so that a second call goes on from there."""
    check_lengths(spec)
    device = record.device = chosen_device(spec.device)
    questions, windows = Questions(spec), _windows(spec)
    names = [SERVED] if spec.url else [FULL, *(v for v in dict.fromkeys(spec.variants) if v != FULL)]
    steps = len(questions.cells) + len(windows)
    parts: dict[str, VariantPart] = {}
    reference: LongModel | None = None
    for i, name in enumerate(names):
        part = record.kept.read(f"variant {i}", VariantPart)
        if part is None:
            answers: list[CellAnswers] = []
            texts: list[Divergence] = []
            try:
                model = None if spec.url else _open_model(spec, name, device.kind)
            except NotAvailable as error:
                if name == FULL:
                    raise
                record.failures.append(Failure.of(error, name))
                continue
            if reference is None and len(windows):
                reference = model if name == FULL else _open_model(spec, FULL, device.kind)
            ask = _asker(spec, model)
            for done, cell in enumerate(questions.cells):
                step = f"{_label(name)} · {cell.task} · {cell.length} tokens, {100 * cell.depth:.0f} % deep"
                yield Progress(step=step, done=i * steps + done, total=len(names) * steps)
                answers.append(ask(cell))
            for done, window in enumerate(windows, start=len(questions.cells)):
                step = f"{_label(name)} · text by position"
                yield Progress(step=step, done=i * steps + done, total=len(names) * steps)
                assert model is not None
                assert reference is not None
                texts.append(model.divergence(window, reference.logits(window[:-1])))
            part = VariantPart(answers=answers, texts=texts)
            record.kept.write(f"variant {i}", part)
        parts[name] = part
    record.rows = _rows(spec, questions, parts)
    recall = {name: tuple(a.recall for a in part.answers) for name, part in parts.items()}
    record.samples = QualitySamples(recall_fraction=recall, prefix_ids=questions.prefix.tolist())


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAnswers:
    """The answers of a variant to the questions of a cell."""

    recall: tuple[float, ...]
    """Share of what must be in each answer that is in it."""
    nll_nat_per_token: tuple[float, ...] = ()
    """Surprise of each right answer; empty where a server was asked."""

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Whether each question was answered in full: (questions,)."""
        return np.equal(self.recall, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPart:
    """All that was measured of a variant, as a resumed measurement finds it."""

    answers: Sequence[CellAnswers]
    """In the order of the cells."""
    texts: Sequence[Divergence]
    """In the order of the windows of text."""

    @property
    def is_right(self) -> npt.NDArray[np.bool_]:
        """Whether each question of all cells was answered in full: (questions,)."""
        return np.concatenate([a.is_right for a in self.answers])


@dataclass(frozen=True, slots=True)
class Cell:
    """Questions of one task, length and depth, with their prompts."""

    task: str
    length: int
    depth: float
    asked: list[tuple[Question, Ids]]


class Questions:
    """What every variant is asked; the same for a spec."""

    def __init__(self, spec: ContextQualitySpec) -> None:
        self._place, rng = located(spec.model), random.Random(spec.seed)
        # A server sets them itself.
        self.prefix = np.empty(0, dtype=np.int64) if spec.url else prefix_ids(self._place)
        self._limit = model_spec_from(spec.model).max_context_tokens
        filler = token_ids(self._place, read_text(spec.text, default=HELD_OUT_TEXT))
        longest = max(spec.lengths)
        if filler.size < longest:
            cause = gettext("The text has {n} tokens; {needed} are needed.").format(n=filler.size, needed=longest)
            raise InvalidSpec(cause, remedy=gettext("Use a longer text or shorter lengths."))
        depths = np.linspace(0, 1, spec.n_depths) if spec.n_depths > 1 else [0.5]
        self.cells: list[Cell] = []
        for task in spec.tasks:
            for length in spec.lengths:
                for depth in depths:
                    drawn = [question_of(task, depth=float(depth), rng=rng) for _ in range(spec.n_per_cell)]
                    room = self._room_for_prompt(length, drawn)
                    asked = [(q, self._prompt(q, filler, room, rng)) for q in drawn]
                    self.cells.append(Cell(task, length, float(depth), asked))

    def _room_for_prompt(self, length: int, questions: Sequence[Question]) -> int:
        """Return the tokens of the prompts of a cell: the length, or less where the answers would go beyond the model's limit."""
        answer = max(token_ids(self._place, q.expected).size for q in questions) + EXTRA_TOKENS
        return min(length, self._limit - answer) if self._limit else length

    def _prompt(self, question: Question, filler: Ids, length: int, rng: random.Random) -> Ids:
        """Return filler with the hidden sentences at their depths, then the question: (length,).

        Special tokens that the tokenizer sets before a text are its first.
        """
        statements = [(h.depth, token_ids(self._place, h.statement)) for h in question.hidden]
        asked = token_ids(self._place, question.text)
        room = length - self.prefix.size - asked.size - sum(s.size for _, s in statements)
        if room < 0:
            raise InvalidSpec(
                gettext("{n} tokens do not hold what is to be hidden.").format(n=length),
                remedy=gettext("Use greater lengths."),
            )
        start = rng.randrange(filler.size - room + 1)
        around, pieces, at = filler[start : start + room], [], 0
        for depth, statement in sorted(statements, key=lambda s: s[0]):
            place = round(depth * room)
            pieces += [around[at:place], statement]
            at = place
        return np.concatenate([self.prefix, *pieces, around[at:], asked])


def _label(name: str) -> str:
    return "server" if name == SERVED else Variant.read(name).label


def _open_model(spec: ContextQualitySpec, name: str, device: str) -> LongModel:
    variant = Variant.read(name)
    form = variant.kv_format
    model = LongModel(
        located(spec.model),
        device=device,
        technique=best_technique(device, half=False) if variant.technique == FULL else variant.technique,
        options=variant.options,
        new_cache=None if form is None else partial(RoundedCache, form),
    )
    if form is not None:
        require_kv_cache(model.model)
    return model


def _windows(spec: ContextQualitySpec) -> Ids:
    """Return windows of text for divergence by position: (n, window_tokens + 1), none of them where a server is asked."""
    if not spec.n_windows or spec.url:
        return np.zeros((0, spec.window_tokens + 1), dtype=np.int64)
    prefix = prefix_ids(located(spec.model))
    ids = token_ids(located(spec.model), read_text(spec.text, default=HELD_OUT_TEXT))
    windows = windows_of(ids, n=spec.n_windows, length=spec.window_tokens + 1 - prefix.size, what="evaluation")
    return np.concatenate([np.tile(prefix, (spec.n_windows, 1)), windows], axis=1)


def _asker(spec: ContextQualitySpec, model: LongModel | None) -> Callable[[Cell], CellAnswers]:
    place = located(spec.model)
    if model is not None:
        return lambda cell: _ask_model(model, place, cell)
    assert spec.url is not None
    engine = HttpEngine(spec.url, spec.served_model or "")
    engine.model = spec.served_model or engine.models()[0]
    return lambda cell: _ask_server(engine, place, cell)


def _ask_server(engine: HttpEngine, place: str, cell: Cell) -> CellAnswers:
    recall = []
    for question, prompt in cell.asked:
        n = token_ids(place, question.expected).size + EXTRA_TOKENS
        wish = Generation(prompt=token_text(place, prompt), max_tokens=n)
        recall.append(question.recall("".join(e.text for e in engine.generate(wish))))
    return CellAnswers(recall=tuple(recall))


def _ask_model(model: LongModel, place: str, cell: Cell) -> CellAnswers:
    answers = [token_ids(place, q.expected) for q, _ in cell.asked]
    n_tokens = max(a.size for a in answers) + EXTRA_TOKENS
    at_once = max(1, BATCH_TOKENS[model.device] // cell.length)
    recall: list[float] = []
    for at in range(0, len(cell.asked), at_once):
        asked = cell.asked[at : at + at_once]
        tokens = model.greedy_tokens(np.stack([p for _, p in asked]), n_tokens=n_tokens)
        recall += [q.recall(token_text(place, np.asarray(row))) for (q, _), row in zip(asked, tokens, strict=True)]
    nll = dict.fromkeys(range(len(answers)), 0.0)
    for size in sorted({a.size for a in answers}):
        alike = [i for i, a in enumerate(answers) if a.size == size]
        for at in range(0, len(alike), at_once):
            part = alike[at : at + at_once]
            surprise = model.surprise(np.stack([cell.asked[i][1] for i in part]), np.stack([answers[i] for i in part]))
            nll |= dict(zip(part, surprise, strict=True))
    return CellAnswers(recall=tuple(recall), nll_nat_per_token=tuple(nll.values()))


def _rows(spec: ContextQualitySpec, questions: Questions, parts: Mapping[str, VariantPart]) -> list[Row]:
    rows: list[Row] = []
    for name, part in parts.items():
        rows.append(_summary(spec, name, part, parts.get(FULL)))
        rows += [_cell_row(name, c, a) for c, a in zip(questions.cells, part.answers, strict=True)]
        if part.texts:
            rows += _text_rows(spec, name, part.texts)
    return rows


def _cell_row(name: str, cell: Cell, answers: CellAnswers) -> Retrieval:
    n, nll = len(answers.recall), answers.nll_nat_per_token
    return Retrieval(
        variant=name,
        task=cell.task,
        length_tokens=cell.length,
        depth_fraction=cell.depth,
        n=n,
        right_fraction=share_interval(int(answers.is_right.sum()), n),
        recall_fraction=float(np.mean(answers.recall)),
        answer_nll_nat_per_token=float(np.mean(nll)) if nll else None,
    )


def _text_rows(spec: ContextQualitySpec, name: str, texts: Sequence[Divergence]) -> list[TextStretch]:
    nll, kl = np.asarray([t.nll_nat for t in texts]), np.asarray([t.kl_nat for t in texts])
    edges = np.linspace(0, spec.window_tokens, min(POSITION_BINS, spec.window_tokens) + 1).astype(int)
    return [
        TextStretch(
            variant=name,
            first_position=int(a),
            end_position=int(b),
            nll_nat_per_token=float(nll[:, a:b].mean()),
            kl_nat_per_token=float(kl[:, a:b].mean()),
        )
        for a, b in pairwise(edges)
    ]


def _summary(spec: ContextQualitySpec, name: str, part: VariantPart, base: VariantPart | None) -> VariantResult:
    right = part.is_right
    return VariantResult(
        variant=name,
        label=_label(name),
        n=right.size,
        right_fraction=share_interval(int(right.sum()), right.size),
        perplexity=float(np.exp(np.mean([t.nll_nat for t in part.texts]))) if part.texts else None,
        against_full=_against_full(part, base, seed=spec.seed) if base else None,
    )


def _against_full(part: VariantPart, base: VariantPart, *, seed: int) -> AgainstFull:
    right, before = part.is_right, base.is_right
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    nll, base_nll = (np.concatenate([a.nll_nat_per_token for a in p.answers]) for p in (part, base))
    kl = [_stretch_means(np.asarray(t.kl_nat)) for t in part.texts]
    return AgainstFull(
        lost=lost,
        won=won,
        mcnemar_p=mcnemar_p(lost, won),
        answer_nll_change_nat_per_token=_bootstrap(nll - base_nll, seed=seed),
        mean_kl_nat_per_token=_bootstrap(np.concatenate(kl), seed=seed) if kl else None,
    )


def _stretch_means(kl: Floats) -> Floats:
    """Return means of whole stretches of 64 tokens, which are the units of the bootstrap."""
    return np.asarray(kl[: len(kl) // 64 * 64].reshape(-1, 64).mean(1))


def _bootstrap(values: Floats, *, seed: int) -> Interval:
    within = (0.0 if values.min() >= 0 else -math.inf, math.inf)
    return block_bootstrap(len(values), lambda rows: float(values[rows].mean()), seed=seed, within=within)
