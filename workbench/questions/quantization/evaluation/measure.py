"""The distance of checkpoints from their reference: KL divergence, pass keys and completed lines, all paired."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from workbench.catalog.formats import KV
from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.checkpoint_model import CheckpointModel, Logits
from workbench.compress.folder import (
    folder_layers,
    has_same_tokens,
    prefix_ids,
    require_context,
    token_ids,
)
from workbench.compress.measure import accuracy_of
from workbench.compress.per_byte import bits_per_byte, stretches
from workbench.compress.rows import Coverage
from workbench.compress.stored_weights import stored_coverage
from workbench.compress.task_scores import task_scores
from workbench.compress.variant import TokenValues
from workbench.core.errors import NotAModel, WorkbenchError
from workbench.core.language import gettext, gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.core.statistics import Floats, block_bootstrap, mcnemar_p, minimum_detectable
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import script_lines
from workbench.measuring.envelope import Record
from workbench.measuring.passkey import random_facts
from workbench.measuring.text import Ids, read_text, windows_of
from workbench.questions.quantization.evaluation.rows import (
    ByteResult,
    CandidateResult,
    ReferenceResult,
    TaskMetrics,
    TaskScore,
)
from workbench.questions.quantization.evaluation.spec import EvaluationSpec, kl_band
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus

CONTEXT_TOKENS = 256  # before a line that is to be completed
LINE_TOKENS = 24
TOKENIZER_CHARACTERS = 20_000  # of the text, on which the tokenizers of original and candidate are compared
STRETCH_CHARACTERS = (
    2  # for each token of a window: text has more characters than that, so that few tokenizers reach the context's end
)
VLLM_WINDOWS = 16
N_DEPTHS = 5  # places of a pass key, from the first to the last in the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Correctness of the answer to each question."""

    passkey: Sequence[bool] = ()
    completion: Sequence[bool] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Measurements of a candidate, kept for a resumed evaluation."""

    values: TokenValues
    answers: Answers
    vllm_top1_agreement_fraction: float | None = None
    tasks: TaskMetrics = field(default_factory=dict)
    coverage: Coverage = ()
    weight_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Top1:
    """Most likely tokens of windows, as vLLM's process answers them."""

    top1: Sequence[Sequence[int]]


@dataclass(slots=True)
class _Questions:
    """Prompts of one kind, and the tokens that answer each."""

    prompts: list[Ids] = field(default_factory=list)
    expected: list[list[int]] = field(default_factory=list)

    def answered(self, model: CheckpointModel) -> list[bool]:
        """Return whether a model answered each question to the letter, decoding greedily."""
        if not self.prompts:
            return []
        rows = model.continued(self.prompts, n_tokens=max(map(len, self.expected)))
        return [row[: len(e)] == e for row, e in zip(rows, self.expected, strict=True)]


def measure(spec: EvaluationSpec, record: Record) -> Iterator[Progress]:
    """Evaluate the original and then each candidate on the same text and questions; finished candidates are kept."""
    model_spec_from(spec.model)
    record.device = device = chosen_device(spec.device)
    for package, is_used in (("vllm", spec.in_vllm), ("lm_eval", spec.tasks)):
        if is_used:
            record.packages[package] = require(package, device=device.kind).version
    kept, total = record.kept, 1.0 + len(spec.candidates)
    yield Progress(step=gettext_noop("evaluating the reference"), done=0, total=total)
    tasks = Tasks(spec)
    model = CheckpointModel(located(spec.model), device=device.kind, threads=max(1, n_usable_cpus()))
    reference, answers = model.all_logits(tasks.windows), tasks.answered(model)
    base_nll = np.stack([w.nll_nat for w in model.compared(tasks.windows, reference).quality])
    metrics: TaskMetrics = {}
    if spec.tasks:
        place = located(spec.model)
        metrics = kept.once(
            "reference_tasks",
            dict[str, dict[str, float]],
            _scores,
            spec,
            place,
            scratch=kept.scratch,
            device=device.kind,
        )
    record.rows.append(
        ReferenceResult(
            folder=spec.model,
            passkey=_score(answers.passkey, answers.passkey),
            completion=_score(answers.completion, answers.completion),
            tasks=metrics,
            prefix_ids=tasks.prefix.tolist(),
        )
    )
    for i, candidate in enumerate(spec.candidates):
        yield Progress(step=Path(candidate).name, done=1.0 + i, total=total)
        try:
            own = kept.scratch / str(i)
            if not _has_same_tokens(spec, candidate):
                bits = kept.once(f"{i} per byte", _Bits, _candidate_bits, spec, candidate, model, device=device.kind)
                record.rows.append(_per_byte(candidate, bits, seed=spec.seed))
                continue
            part = kept.once(
                str(i), _Part, _candidate_part, spec, candidate, tasks, reference, scratch=own, device=device.kind
            )
        except WorkbenchError as error:
            record.failures.append(Failure.of(error, candidate))
            continue
        record.rows.append(_candidate(candidate, part, answers, base_nll, seed=spec.seed))
    if len(record.rows) == 1:
        raise WorkbenchError(record.failures[0].cause, remedy=record.failures[0].remedy)


class Tasks:
    """Text windows, pass keys and lines to complete that every model of a spec is evaluated on."""

    def __init__(self, spec: EvaluationSpec) -> None:
        place, rng = located(spec.model), random.Random(spec.seed)
        text = read_text(spec.text, default=HELD_OUT_TEXT)
        require_context(place, spec.window_tokens)
        ids, self.prefix = token_ids(place, text), prefix_ids(place)
        size = spec.window_tokens + 1
        self.windows = windows_of(ids, n=spec.n_windows, length=size, what="evaluation", prefix=self.prefix)
        self.passkey, self.completion = _Questions(), _Questions()
        self._add_passkeys(spec, place, ids, rng)
        self._add_lines(spec, place, text, rng)

    def _add_passkeys(self, spec: EvaluationSpec, place: str, ids: Ids, rng: random.Random) -> None:
        for number, fact in enumerate(random_facts(spec.n_passkeys, rng)):
            statement, question, answer = (token_ids(place, t) for t in (fact.statement, fact.question, fact.answer))
            room = spec.passkey_tokens - statement.size - question.size - self.prefix.size
            start = rng.randrange(max(1, ids.size - room))
            filler = ids[start : start + room]
            depth = round(filler.size * (number % N_DEPTHS) / (N_DEPTHS - 1))
            self.passkey.prompts.append(
                np.concatenate([self.prefix, filler[:depth], statement, filler[depth:], question])
            )
            self.passkey.expected.append(answer.tolist())

    def _add_lines(self, spec: EvaluationSpec, place: str, text: str, rng: random.Random) -> None:
        lines = text.splitlines(keepends=True)
        starts = np.cumsum([0, *map(len, lines)])
        bodies = [i for i, line in enumerate(lines) if line.startswith("    ") and len(line.strip()) > 8]
        for i in rng.sample(bodies, min(4 * spec.n_completions, len(bodies))):
            # The prompt ends before the last blank of the indentation, which tokenizers join to the first word.
            end = starts[i] + len(lines[i]) - len(lines[i].lstrip()) - 1
            before = token_ids(place, text[max(0, end - 6 * CONTEXT_TOKENS) : end])
            answer = token_ids(place, " " + lines[i].strip())
            if before.size >= CONTEXT_TOKENS and 2 <= answer.size <= LINE_TOKENS:
                half = (
                    answer.size + 1
                ) // 2  # small models fail at whole lines, so that these would show no difference
                self.completion.prompts.append(
                    np.concatenate([self.prefix, before[half - CONTEXT_TOKENS :], answer[:half]])
                )
                self.completion.expected.append(answer[half:].tolist())
            if len(self.completion.prompts) == spec.n_completions:
                return

    def answered(self, model: CheckpointModel) -> Answers:
        """Return whether a model answered each question to the letter."""
        return Answers(passkey=self.passkey.answered(model), completion=self.completion.answered(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bits:
    """Bits per byte of each stretch of text, of a candidate and of the original, kept for a resumed evaluation."""

    candidate: Sequence[float]
    original: Sequence[float]
    n_bytes: int


def _has_same_tokens(spec: EvaluationSpec, candidate: str) -> bool:
    if candidate.startswith(KV) or not Path(located(candidate)).is_dir():
        return True
    text = read_text(spec.text, default=HELD_OUT_TEXT)[:TOKENIZER_CHARACTERS]
    return has_same_tokens(located(spec.model), located(candidate), text)


def _candidate_bits(spec: EvaluationSpec, candidate: str, original: CheckpointModel, *, device: str) -> _Bits:
    text, place = read_text(spec.text, default=HELD_OUT_TEXT), located(candidate)
    theirs, ours = (
        stretches(p, text, n=spec.n_windows, tokens=spec.window_tokens) for p in (place, located(spec.model))
    )
    model = CheckpointModel(place, device=device, threads=max(1, n_usable_cpus()))
    return _Bits(
        candidate=bits_per_byte(model, theirs),
        original=bits_per_byte(original, ours),
        n_bytes=sum(s.n_bytes for s in ours),
    )


def _per_byte(candidate: str, bits: _Bits, *, seed: int) -> ByteResult:
    theirs, ours = np.asarray(bits.candidate), np.asarray(bits.original)
    change = theirs - ours
    return ByteResult(
        folder=candidate,
        n_windows=change.size,
        n_bytes=bits.n_bytes,
        bits_per_byte=float(theirs.mean()),
        original_bits_per_byte=float(ours.mean()),
        change_bits_per_byte=block_bootstrap(change.size, lambda i: float(change[i].mean()), seed=seed),
    )


def _candidate_part(
    spec: EvaluationSpec, candidate: str, tasks: Tasks, reference: Logits, *, scratch: Path, device: str
) -> _Part:
    scratch.mkdir(exist_ok=True)
    cache = candidate.removeprefix(KV) if candidate.startswith(KV) else None
    place = located(spec.model if cache else candidate)
    if not Path(place).is_dir():
        raise NotAModel(
            gettext("{name} is no folder.").format(name=candidate),
            remedy=gettext("Name the folder of a checkpoint."),
        )
    model = CheckpointModel(place, device=device, threads=max(1, n_usable_cpus()), kv_format=cache)
    compared, answers, agreement = model.compared(tasks.windows, reference), tasks.answered(model), None
    if spec.in_vllm and cache is None:
        agreement = _vllm_agreement(place, tasks, compared.top1, scratch=scratch, device=device)
    metrics = _scores(spec, place, scratch=scratch, device=device) if spec.tasks and cache is None else {}
    is_folder = cache is None and Path(place) != Path(located(spec.model))
    return _Part(
        values=TokenValues.of(compared.quality),
        answers=answers,
        vllm_top1_agreement_fraction=agreement,
        tasks=metrics,
        coverage=stored_coverage(Path(place), folder_layers(located(spec.model))[0]) if is_folder else (),
        weight_bytes=sum(f.stat().st_size for f in Path(place).glob("*.safetensors")) or None if is_folder else None,
    )


def _scores(spec: EvaluationSpec, place: str, *, scratch: Path, device: str) -> dict[str, dict[str, float]]:
    python = require("lm_eval", device=device).python
    return task_scores(python, place, tasks=spec.tasks, folder=spec.task_folder, scratch=scratch, device=device)


def _candidate(candidate: str, part: _Part, reference: Answers, base_nll: Floats, *, seed: int) -> CandidateResult:
    values, keys = part.values, part.answers.passkey
    kl, nll, agrees = (np.asarray(v, dtype=np.float64) for v in (values.kl_nat, values.nll_nat, values.agrees))
    accuracy = accuracy_of(kl, nll, agrees, reference_nll=base_nll, seed=seed)
    return CandidateResult(
        folder=candidate,
        accuracy=accuracy,
        kl_band=kl_band(accuracy.mean_kl_nat_per_token.value),
        passkey=_score(keys, reference.passkey),
        completion=_score(part.answers.completion, reference.completion),
        passkey_right_fraction_by_depth=[float(np.mean(keys[i::N_DEPTHS])) for i in range(min(N_DEPTHS, len(keys)))],
        vllm_top1_agreement_fraction=part.vllm_top1_agreement_fraction,
        tasks=part.tasks,
        coverage=part.coverage,
        weight_bytes=part.weight_bytes,
    )


def _vllm_agreement(place: str, tasks: Tasks, top1: list[list[int]], *, scratch: Path, device: str) -> float:
    """Return the share of positions at which vLLM's most likely token is that of transformers."""
    windows = [w[:-1].tolist() for w in tasks.windows[:VLLM_WINDOWS]]
    (line,) = script_lines("top1", {"model": place, "windows": windows}, folder=scratch, device=device)
    answer = msgspec.convert(line, _Top1)
    return float(np.mean(np.asarray(answer.top1) == np.asarray(top1[:VLLM_WINDOWS])))


def _score(right: Sequence[bool], reference: Sequence[bool]) -> TaskScore | None:
    """Return the score of answers and how it differs from the original's; None where nothing was asked."""
    if not right:
        return None
    now, before = np.asarray(right), np.asarray(reference)
    lost, won = int((before & ~now).sum()), int((now & ~before).sum())
    error = float(np.sqrt(max(lost + won, 1)) / now.size)
    return TaskScore(
        n=now.size,
        right_fraction=float(now.mean()),
        lost=lost,
        won=won,
        mcnemar_p=mcnemar_p(lost, won),
        minimum_detectable_fraction=minimum_detectable(error),
    )
