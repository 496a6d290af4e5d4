"""How far checkpoints are from their reference: divergence, pass keys and completed lines, all paired."""

import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.catalog.models import model_spec_from
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.checkpoint_model import CheckpointModel
from workbench.compress.folder import token_ids
from workbench.compress.task_scores import task_scores
from workbench.core.errors import NotAModel, WorkbenchError
from workbench.core.evaluation import KV, EvaluationSpec, kl_band
from workbench.core.passkey import random_facts
from workbench.core.progress import SCRATCH, Progress
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import Interval, mcnemar_p, minimum_detectable
from workbench.engines.environments import require
from workbench.engines.inside_vllm.call import told
from workbench.experiments.quantization import accuracy_figures
from workbench.experiments.text import Ids, read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import n_usable_cpus, read_environment

KIND = "evaluation"
CONTEXT_TOKENS = 256  # before a line that is to be completed
LINE_TOKENS = 24
VLLM_WINDOWS = 16
N_DEPTHS = 5  # places of a pass key, from the first to the last in the text


def run(spec: EvaluationSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: EvaluationSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps finished candidates, so that a second call goes on from there."""
    started_at = utc_now()
    model_spec_from(spec.model)
    device = chosen_device(spec.device)
    environment = read_environment(device)
    if spec.in_vllm:
        environment = environment.with_package("vllm", require("vllm", device=device.kind).version)
    if spec.tasks:
        environment = environment.with_package("lm_eval", require("lm_eval", device=device.kind).version)
    parts, scratch = folder / "parts", folder / SCRATCH
    for made in (parts, scratch):
        made.mkdir(parents=True, exist_ok=True)
    total = 1.0 + len(spec.candidates)
    yield Progress(step="reading the reference", done=0, total=total)
    threads = max(1, n_usable_cpus())
    tasks = Tasks(spec)
    reference_model = CheckpointModel(located(spec.model), device=device.kind, threads=threads)
    reference = reference_model.all_logits(tasks.windows)
    answers = tasks.answered(reference_model)
    base_nll = reference_model.compared(tasks.windows, reference)["nll_nat"]
    rows: list[dict[str, Any]] = [_task_row("reference", spec.model, answers, answers)]
    if spec.tasks:
        rows[0]["tasks"] = _kept_scores(spec, parts / "reference_tasks.json", scratch=scratch, device=device.kind)
    failures: list[Mapping[str, str]] = []
    for i, candidate in enumerate(spec.candidates):
        yield Progress(step=Path(candidate).name, done=1.0 + i, total=total)
        kept = parts / f"{i}.json"
        try:
            if not kept.exists():
                own = scratch / str(i)
                own.mkdir(exist_ok=True)
                part = _candidate_part(spec, candidate, tasks, reference, scratch=own, device=device.kind)
                unfinished = kept.with_suffix(".part")
                unfinished.write_text(json.dumps(part))
                os.replace(unfinished, kept)
        except WorkbenchError as error:
            failures.append({"method": candidate, "cause": error.cause, "remedy": error.remedy})
            continue
        part = json.loads(kept.read_text())
        rows.append(_row(candidate, part, answers, base_nll, seed=spec.seed))
    if len(rows) == 1:
        raise WorkbenchError(failures[0]["cause"], remedy=failures[0]["remedy"])
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=list(rows),
        samples={},
        failures=failures,
    )


class Tasks:
    """What every model is asked: windows to read, pass keys to find, second halves of lines. The same for a spec."""

    def __init__(self, spec: EvaluationSpec) -> None:
        place, rng = located(spec.model), random.Random(spec.seed)
        text = read_text(spec.text, default=HELD_OUT_TEXT)
        ids = token_ids(place, text)
        self.windows = windows_of(ids, n=spec.n_windows, length=spec.window_tokens + 1, what="evaluation")
        self.prompts: dict[str, list[Ids]] = {"passkey": [], "completion": []}
        self.expected: dict[str, list[list[int]]] = {"passkey": [], "completion": []}
        self._ask_for_keys(spec, place, ids, rng)
        self._ask_for_lines(spec, place, text, rng)

    def _ask_for_keys(self, spec: EvaluationSpec, place: str, ids: Ids, rng: random.Random) -> None:
        for number, fact in enumerate(random_facts(spec.n_passkeys, rng)):
            statement, question, answer = (token_ids(place, t) for t in (fact.statement, fact.question, fact.answer))
            room = spec.passkey_tokens - statement.size - question.size
            start = rng.randrange(max(1, ids.size - room))
            filler = ids[start : start + room]
            depth = round(
                filler.size * (number % N_DEPTHS) / (N_DEPTHS - 1)
            )  # from the first to the last place in the text, evenly
            self.prompts["passkey"].append(np.concatenate([filler[:depth], statement, filler[depth:], question]))
            self.expected["passkey"].append(answer.tolist())

    def _ask_for_lines(self, spec: EvaluationSpec, place: str, text: str, rng: random.Random) -> None:
        lines = text.splitlines(keepends=True)
        starts = np.cumsum([0, *map(len, lines)])
        bodies = [i for i, line in enumerate(lines) if line.startswith("    ") and len(line.strip()) > 8]
        for i in rng.sample(bodies, min(4 * spec.n_completions, len(bodies))):
            # The prompt ends before the last blank of the indentation, which tokenizers join to the first word.
            end = starts[i] + len(lines[i]) - len(lines[i].lstrip()) - 1
            before = token_ids(place, text[max(0, end - 6 * CONTEXT_TOKENS) : end])
            answer = token_ids(place, " " + lines[i].strip())
            if before.size >= CONTEXT_TOKENS and 2 <= answer.size <= LINE_TOKENS:
                half = (answer.size + 1) // 2  # whole lines are too hard for small models to tell them apart
                self.prompts["completion"].append(np.concatenate([before[half - CONTEXT_TOKENS :], answer[:half]]))
                self.expected["completion"].append(answer[half:].tolist())
            if len(self.prompts["completion"]) == spec.n_completions:
                return

    def answered(self, model: CheckpointModel) -> dict[str, list[bool]]:
        """Whether each question was answered to the letter, greedily."""
        right: dict[str, list[bool]] = {}
        for task, prompts in self.prompts.items():
            expected = self.expected[task]
            made = model.continued(prompts, n_tokens=max(map(len, expected))) if prompts else []
            right[task] = [row[: len(e)] == e for row, e in zip(made, expected, strict=True)]
        return right


def _candidate_part(
    spec: EvaluationSpec, candidate: str, tasks: Tasks, reference: list[Any], *, scratch: Path, device: str
) -> dict[str, Any]:
    cache = candidate.removeprefix(KV) if candidate.startswith(KV) else None
    place = located(spec.model if cache else candidate)
    if not Path(place).is_dir():
        raise NotAModel(f"{candidate} is no folder.", remedy="Name the folder of a checkpoint.")
    model = CheckpointModel(place, device=device, threads=max(1, n_usable_cpus()), kv_format=cache)
    part = _compared(model, tasks, reference)
    if spec.in_vllm and cache is None:
        agreement = _vllm_agreement(place, tasks, part["top1"], scratch=scratch, device=device)
        part["vllm_top1_agreement_fraction"] = agreement
    if spec.tasks and cache is None:
        part["tasks"] = _scores(spec, place, scratch=scratch, device=device)
    return part


def _kept_scores(spec: EvaluationSpec, kept: Path, *, scratch: Path, device: str) -> dict[str, Any]:
    if not kept.exists():
        unfinished = kept.with_suffix(".part")
        unfinished.write_text(json.dumps(_scores(spec, located(spec.model), scratch=scratch, device=device)))
        os.replace(unfinished, kept)
    scores: dict[str, Any] = json.loads(kept.read_text())
    return scores


def _scores(spec: EvaluationSpec, place: str, *, scratch: Path, device: str) -> dict[str, dict[str, float]]:
    python = require("lm_eval", device=device).python
    return task_scores(python, place, tasks=spec.tasks, folder=spec.task_folder, scratch=scratch, device=device)


def _row(
    candidate: str, part: Mapping[str, Any], reference: Mapping[str, list[bool]], base_nll: Any, *, seed: int
) -> dict[str, Any]:
    kl, nll, agrees = (np.asarray(part[k], dtype=np.float64) for k in ("kl_nat", "nll_nat", "agrees"))
    row = _task_row("candidate", candidate, part["answers"], reference)
    for name, value in accuracy_figures(kl, nll, agrees, reference_nll=base_nll, seed=seed).items():
        if isinstance(value, Interval):
            row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            row[name] = value
    row["kl_band"] = kl_band(row["mean_kl_nat_per_token"])
    found = part["answers"]["passkey"]
    row["passkey_right_fraction_by_depth"] = [
        float(np.mean(found[i::N_DEPTHS])) for i in range(min(N_DEPTHS, len(found)))
    ]
    row["vllm_top1_agreement_fraction"] = part.get("vllm_top1_agreement_fraction")
    if "tasks" in part:
        row["tasks"] = part["tasks"]
    return row


def _compared(model: CheckpointModel, tasks: Tasks, reference: list[Any]) -> dict[str, Any]:
    quality = {name: values.tolist() for name, values in model.compared(tasks.windows, reference).items()}
    return quality | {"answers": tasks.answered(model)}


def _vllm_agreement(place: str, tasks: Tasks, ours: list[list[int]], *, scratch: Path, device: str) -> float:
    """Share of positions at which vLLM's most likely token is ours."""
    windows = [w[:-1].tolist() for w in tasks.windows[:VLLM_WINDOWS]]
    (answer,) = told("top1", {"model": place, "windows": windows}, folder=scratch, device=device)
    return float(np.mean(np.asarray(answer["top1"]) == np.asarray(ours[:VLLM_WINDOWS])))


def _task_row(
    part: str, folder: str, answers: Mapping[str, list[bool]], reference: Mapping[str, list[bool]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"part": part, "folder": folder, "provenance": "measured"}
    for task, right in answers.items():
        if not right:
            continue
        now, before = np.asarray(right), np.asarray(reference[task])
        lost, won = int((before & ~now).sum()), int((now & ~before).sum())
        error = float(np.sqrt(max(lost + won, 1)) / now.size)
        row |= {
            f"{task}_n": now.size,
            f"{task}_right_fraction": float(now.mean()),
            f"{task}_lost": lost,
            f"{task}_won": won,
            f"{task}_mcnemar_p": mcnemar_p(lost, won),
            f"{task}_minimum_detectable_fraction": minimum_detectable(error),
        }
    return row
