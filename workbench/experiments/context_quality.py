"""Retrieval by depth and length, and surprise by position, for full attention and what is cheaper than it."""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from workbench.attention.in_model import LongModel
from workbench.attention.techniques import best_technique
from workbench.catalog.paths import HELD_OUT_TEXT, located
from workbench.compress.folder import token_ids, token_text
from workbench.compress.kv_quant import RoundedCache
from workbench.core.context_quality import FULL, SERVED, ContextQualitySpec, Variant
from workbench.core.errors import InvalidSpec
from workbench.core.ports import Generation
from workbench.core.progress import Progress
from workbench.core.retrieval import Question, question_of
from workbench.core.runs import Run, last_run, utc_now
from workbench.core.statistics import block_bootstrap, mcnemar_p, share_interval
from workbench.engines.http import HttpEngine
from workbench.experiments.context_limits import check_lengths
from workbench.experiments.parts import Kept
from workbench.experiments.text import Ids, read_text, windows_of
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import read_environment

KIND = "context_quality"
EXTRA_TOKENS = 6  # beyond the expected answer
BATCH_TOKENS = {"cpu": 16_384, "cuda": 200_000}
POSITION_BINS = 16


def run(spec: ContextQualitySpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: ContextQualitySpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run. ``folder`` keeps finished variants, so that a second call goes on from there."""
    started_at = utc_now()
    check_lengths(spec)
    device = chosen_device(spec.device)
    environment = read_environment(device)
    kept = Kept(folder)
    questions = Questions(spec)
    names = [SERVED] if spec.url else [FULL, *(v for v in dict.fromkeys(spec.variants) if v != FULL)]
    total = len(names) * (len(questions.cells) + spec.n_windows)
    parts: dict[str, dict[str, Any]] = {}
    windows = _windows(spec)
    reference: LongModel | None = None
    for i, name in enumerate(names):
        done = i * (total // len(names))
        parts[name] = kept.read(f"variant {i}")
        if parts[name] is None:
            part: dict[str, Any] = {"cells": [], "windows": []}
            model = None if spec.url else _opened(spec, name, device.kind)
            if reference is None and windows is not None:
                reference = model if name == FULL else _opened(spec, FULL, device.kind)
            ask = _asker(spec, model)
            for cell in questions.cells:
                step = f"{_label(name)} · {cell.task} · {cell.length} tokens, {100 * cell.depth:.0f} % deep"
                yield Progress(step=step, done=done + len(part["cells"]), total=total)
                part["cells"].append(ask(cell))
            for window in windows if windows is not None else ():
                at = done + len(part["cells"]) + len(part["windows"])
                yield Progress(step=f"{_label(name)} · text by position", done=at, total=total)
                assert model is not None
                assert reference is not None
                part["windows"].append(model.compared(window, reference.logits(window[:-1])))
            kept.write(f"variant {i}", part)
            parts[name] = part
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=environment,
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=_rows(spec, questions, parts),
        samples={"right": {name: [c["recall"] for c in part["cells"]] for name, part in parts.items()}},
        failures=[],
    )


class Cell:
    """Questions of one task, length and depth, with their prompts."""

    def __init__(self, task: str, length: int, depth: float, asked: list[tuple[Question, Ids]]) -> None:
        self.task, self.length, self.depth, self.asked = task, length, depth, asked


class Questions:
    """What every variant is asked; the same for a spec."""

    def __init__(self, spec: ContextQualitySpec) -> None:
        self._place, rng = located(spec.model), random.Random(spec.seed)
        filler = token_ids(self._place, read_text(spec.text, default=HELD_OUT_TEXT))
        longest = max(spec.lengths)
        if filler.size < longest:
            raise InvalidSpec(
                f"The text has {filler.size} tokens; {longest} are needed.",
                remedy="Use a longer text or shorter lengths.",
            )
        depths = np.linspace(0, 1, spec.n_depths) if spec.n_depths > 1 else [0.5]
        self.cells: list[Cell] = []
        for task in spec.tasks:
            for length in spec.lengths:
                for depth in depths:
                    made = [question_of(task, depth=float(depth), rng=rng) for _ in range(spec.n_per_cell)]
                    asked = [(q, self._prompt(q, filler, length, rng)) for q in made]
                    self.cells.append(Cell(task, length, float(depth), asked))

    def _prompt(self, question: Question, filler: Ids, length: int, rng: random.Random) -> Ids:
        """Filler with the hidden sentences at their depths, then the question: (length,)."""
        statements = [(h.depth, token_ids(self._place, h.statement)) for h in question.hidden]
        asked = token_ids(self._place, question.text)
        room = length - asked.size - sum(s.size for _, s in statements)
        if room < 0:
            raise InvalidSpec(f"{length} tokens do not hold what is to be hidden.", remedy="Use greater lengths.")
        start = rng.randrange(filler.size - room + 1)
        around, pieces, at = filler[start : start + room], [], 0
        for depth, statement in sorted(statements, key=lambda s: s[0]):
            place = round(depth * room)
            pieces += [around[at:place], statement]
            at = place
        return np.concatenate([*pieces, around[at:], asked])


def _label(name: str) -> str:
    return "server" if name == SERVED else Variant.read(name).label


def _opened(spec: ContextQualitySpec, name: str, device: str) -> LongModel:
    variant = Variant.read(name)
    form = variant.kv_format
    return LongModel(
        located(spec.model),
        device=device,
        technique=best_technique(device, half=False) if variant.technique == FULL else variant.technique,
        options=variant.options,
        new_cache=None if form is None else lambda: RoundedCache(form),
    )


def _windows(spec: ContextQualitySpec) -> Ids | None:
    if not spec.n_windows or spec.url:
        return None
    ids = token_ids(located(spec.model), read_text(spec.text, default=HELD_OUT_TEXT))
    return windows_of(ids, n=spec.n_windows, length=spec.window_tokens + 1, what="evaluation")


def _asker(spec: ContextQualitySpec, model: LongModel | None) -> Callable[[Cell], dict[str, Any]]:
    place = located(spec.model)
    if model is None:
        assert spec.url is not None
        engine = HttpEngine(spec.url, spec.served_model or "")
        if not spec.served_model:
            engine.model = engine.models()[0]
        return lambda cell: _ask_server(engine, place, cell)
    return lambda cell: _ask_model(model, place, cell)


def _ask_server(engine: HttpEngine, place: str, cell: Cell) -> dict[str, Any]:
    recall = []
    for question, prompt in cell.asked:
        n = token_ids(place, question.expected).size + EXTRA_TOKENS
        wish = Generation(prompt=token_text(place, prompt), max_tokens=n)
        recall.append(question.recall("".join(e.text for e in engine.generate(wish))))
    return {"recall": recall, "nll": []}


def _ask_model(model: LongModel, place: str, cell: Cell) -> dict[str, Any]:
    answers = [token_ids(place, q.expected) for q, _ in cell.asked]
    n_tokens = max(a.size for a in answers) + EXTRA_TOKENS
    at_once = max(1, BATCH_TOKENS[model.device] // cell.length)
    recall: list[float] = []
    for at in range(0, len(cell.asked), at_once):
        asked = cell.asked[at : at + at_once]
        made = model.continued(np.stack([p for _, p in asked]), n_tokens=n_tokens)
        recall += [q.recall(token_text(place, np.asarray(row))) for (q, _), row in zip(asked, made, strict=True)]
    nll = [0.0] * len(answers)
    for size in sorted({a.size for a in answers}):
        alike = [i for i, a in enumerate(answers) if a.size == size]
        for at in range(0, len(alike), at_once):
            part = alike[at : at + at_once]
            got = model.surprise(np.stack([cell.asked[i][1] for i in part]), np.stack([answers[i] for i in part]))
            for i, value in zip(part, got, strict=True):
                nll[i] = value
    return {"recall": recall, "nll": nll}


def _rows(spec: ContextQualitySpec, questions: Questions, parts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    base = parts.get(FULL)
    for name, part in parts.items():
        rows.append(_summary(spec, name, part, base))
        rows += [_cell_row(name, c, got) for c, got in zip(questions.cells, part["cells"], strict=True)]
        if part["windows"]:
            rows += _position_rows(spec, name, part["windows"])
    return rows


def _cell_row(name: str, cell: Cell, got: Mapping[str, Any]) -> dict[str, Any]:
    right = sum(r == 1.0 for r in got["recall"])
    share = share_interval(right, len(got["recall"]))
    return {
        "part": "retrieval",
        "provenance": "measured",
        "variant": name,
        "task": cell.task,
        "length_tokens": cell.length,
        "depth_fraction": cell.depth,
        "n": len(got["recall"]),
        "right_fraction": share.value,
        "right_fraction_low": share.low,
        "right_fraction_high": share.high,
        "recall_fraction": float(np.mean(got["recall"])),
        "answer_nll_nat_per_token": float(np.mean(got["nll"])) if got["nll"] else None,
    }


def _position_rows(spec: ContextQualitySpec, name: str, windows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    nll, kl = (np.asarray([w[key] for w in windows]) for key in ("nll", "kl"))
    edges = np.linspace(0, spec.window_tokens, min(POSITION_BINS, spec.window_tokens) + 1).astype(int)
    return [
        {
            "part": "position",
            "provenance": "measured",
            "variant": name,
            "first_position": int(a),
            "end_position": int(b),
            "nll_nat_per_token": float(nll[:, a:b].mean()),
            "kl_nat_per_token": float(kl[:, a:b].mean()),
        }
        for a, b in pairwise(edges)
    ]


def _summary(
    spec: ContextQualitySpec, name: str, part: Mapping[str, Any], base: Mapping[str, Any] | None
) -> dict[str, Any]:
    right = np.concatenate([np.asarray(c["recall"]) == 1.0 for c in part["cells"]])
    share = share_interval(int(right.sum()), right.size)
    row: dict[str, Any] = {
        "part": "variant",
        "provenance": "measured",
        "variant": name,
        "label": _label(name),
        "n": right.size,
        "right_fraction": share.value,
        "right_fraction_low": share.low,
        "right_fraction_high": share.high,
    }
    if base is None:
        return row
    before = np.concatenate([np.asarray(c["recall"]) == 1.0 for c in base["cells"]])
    lost, won = int((before & ~right).sum()), int((right & ~before).sum())
    row |= {"lost": lost, "won": won, "mcnemar_p": mcnemar_p(lost, won)}
    extra = np.concatenate(
        [np.asarray(c["nll"]) - np.asarray(b["nll"]) for c, b in zip(part["cells"], base["cells"], strict=True)]
    )
    row |= _interval("answer_nll_change_nat_per_token", extra, seed=spec.seed)
    if part["windows"]:
        kl = np.concatenate([np.asarray(w["kl"]).reshape(-1, 64).mean(1) for w in _trimmed(part["windows"])])
        row |= _interval("mean_kl_nat_per_token", kl, seed=spec.seed)
        nll = np.mean([w["nll"] for w in part["windows"]])
        row["perplexity"] = float(np.exp(nll))
    return row


def _trimmed(windows: Sequence[Mapping[str, Any]]) -> list[dict[str, list[float]]]:
    """Windows cut to whole stretches of 64 tokens, which are the units of the bootstrap."""
    return [{"kl": w["kl"][: max(64, len(w["kl"]) // 64 * 64)]} for w in windows if len(w["kl"]) >= 64]


def _interval(name: str, values: Any, *, seed: int) -> dict[str, float]:
    found = block_bootstrap(len(values), lambda rows: float(values[rows].mean()), seed=seed)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
