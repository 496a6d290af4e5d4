"""Inputs of different lengths with three paddings: to one fixed length, to the longest of each batch, and so after sorting by length."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from workbench.apparatus.footprint import Footprint, FootprintFailed, footprint
from workbench.core.errors import NotAvailable, WorkbenchError, first_line
from workbench.core.language import gettext_noop
from workbench.core.progress import Progress
from workbench.core.rows import Failure
from workbench.measuring.envelope import Record
from workbench.measuring.interleaved import Timed, batch_times, interleaved_rounds
from workbench.questions.edge.rows import PADDINGS, LengthsResult, Padding, TokenLengths
from workbench.questions.edge.spec import EdgeSpec
from workbench.vision.graph_form import graph_form
from workbench.vision.graphs import fix_sides
from workbench.vision.sessions import Examples, Graph

N_INPUTS = 64
MOST_TOKENS = 256
"""Longer texts are cut: the limit that sentence-transformers sets for all-MiniLM-L6-v2 (sentence_bert_config.json)."""
LARGEST_DIFFERENCE = 1e-3  # of the largest output
ROUNDS = 7
Lengths = npt.NDArray[np.int64]
Output = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariedInputs:
    """Inputs of different lengths for a graph whose sequences may have any length."""

    graph: Path
    examples: Examples
    """All inputs, padded at the end to the length of the longest."""
    lengths: Lengths
    """Real length of each: (inputs,)."""
    names: tuple[str, ...]
    """Inputs of the graph with one value or vector for each token."""
    source: str
    """Description of the inputs."""

    @property
    def longest(self) -> int:
        """Length of the longest input."""
        return int(self.lengths.max())

    def first(self, n: int) -> "VariedInputs":
        """Return the first inputs alone."""
        return replace(self, examples=self.examples[:n], lengths=self.lengths[:n])

    def of(self, rows: npt.NDArray[np.intp], n_tokens: int) -> Examples:
        """Return some of the inputs, padded to so many tokens."""
        parts = {name: self.examples[name][rows] for name in self.examples.dtype.names or ()}
        parts |= {name: parts[name][:, :n_tokens] for name in self.names}
        batch = np.zeros(len(rows), [(name, part.dtype, part.shape[1:]) for name, part in parts.items()])
        for name, part in parts.items():
            batch[name] = part
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedBatch:
    """Inputs that are answered together, and the length that all are padded to."""

    rows: npt.NDArray[np.intp]
    n_tokens: int


def padded_batches(lengths: Lengths, *, batch: int, padding: Padding) -> list[PaddedBatch]:
    """Return the batches that answer all inputs; inputs that are sorted come longest first, so that memory is taken once.

    Args:
        lengths: Of the inputs: (inputs,), which fill whole batches.
        batch: Inputs in a batch.
        padding: See ``LengthsResult``.
    """
    order = np.argsort(-lengths, kind="stable") if padding == "sorted" else np.arange(len(lengths))
    groups = order.reshape(-1, batch)
    return [PaddedBatch(rows=g, n_tokens=int((lengths if padding == "static" else lengths[g]).max())) for g in groups]


def masked_inputs(graph: Path, examples: Examples | None, source: str) -> VariedInputs:
    """Return inputs whose lengths an attention mask tells, at most ``N_INPUTS`` of them, spread over all.

    Raises:
        NotAvailable: the graph takes one length only, has inputs that do not begin with the batch or no mask, or the mask does not begin with the real tokens; or its inputs are
            drawn at random.
    """
    form = graph_form(onnx.load(str(graph), load_external_data=False))
    free = tuple(i.name for i in form.inputs if len(i.sides) > 1 and not isinstance(i.sides[1], int))
    sides = ", ".join(f"{i.name} {list(i.sides)}" for i in form.inputs)
    if not free:
        raise NotAvailable(
            f"The graph takes inputs of one length only ({sides}).", remedy="Export it with a free number of tokens."
        )
    if form.is_whole:
        raise NotAvailable(
            f"The inputs of the graph do not all begin with the batch ({sides}).",
            remedy="Export it with the batch as the first side of all inputs.",
        )
    if examples is None:
        raise NotAvailable(
            "The inputs of the graph are drawn at random and have no lengths of their own.",
            remedy="Give texts with their attention mask by --data.",
        )
    mask = next((n for n in free if "mask" in n.lower() and examples[n].ndim == 2), None)
    if mask is None:
        raise NotAvailable(
            "The graph has no attention mask, which would tell how long its inputs are and hide their padding.",
            remedy="Export it with the mask as an input of (batch, tokens).",
        )
    chosen = examples[np.unique(np.linspace(0, len(examples) - 1, N_INPUTS).astype(int))]
    chosen = chosen[(chosen[mask] != 0).any(axis=1)]
    real = chosen[mask] != 0
    lengths = real.sum(axis=1)
    if not np.array_equal(real, np.arange(real.shape[1]) < lengths[:, None]):
        raise NotAvailable(
            f"The inputs {mask} do not begin with the real tokens, so that padding cannot be cut off.",
            remedy="Pad the inputs at their end.",
        )
    names = tuple(n for n in free if examples.dtype[n].shape[0] == real.shape[1])
    whole = VariedInputs(graph=graph, examples=chosen, lengths=lengths, names=names, source=source)
    return _of_several_lengths(whole)


def unmasked_inputs(graph: Path, texts: Sequence[npt.NDArray[np.int64]], source: str) -> VariedInputs:
    """Return texts for a causal graph without a mask, in which no token sees the padding behind it."""
    form = graph_form(onnx.load(str(graph), load_external_data=False))
    lengths = np.array([len(ids) for ids in texts])
    examples = np.zeros(len(texts), form.example_type(int(lengths.max())))
    for row, ids in zip(examples["input_ids"], texts, strict=True):
        row[: len(ids)] = ids
    whole = VariedInputs(graph=graph, examples=examples, lengths=lengths, names=("input_ids",), source=source)
    return _of_several_lengths(whole)


def passages_of(text: Path) -> str:
    """Return the description of passages of a text."""
    return gettext_noop("passages of {file}").format(file=text.name)


def _of_several_lengths(inputs: VariedInputs) -> VariedInputs:
    if len(set(inputs.lengths.tolist())) < 2:
        raise NotAvailable(
            "All inputs have the same length.", remedy="Give inputs of different lengths with their attention masks."
        )
    return inputs


def measure_lengths(
    spec: EdgeSpec, record: Record, opened: Callable[[], VariedInputs], *, sizes: Sequence[int], start: float
) -> Iterator[Progress]:
    """Record a row for each padding and batch size, or the reason why there is none, and yield progress.

    Args:
        spec: Spec with threads, rounds and seed.
        record: Record that takes the rows.
        opened: Makes the inputs that are answered.
        sizes: Batch sizes; those above the number of inputs are a failure.
        start: Progress so far, of 100.
    """
    try:
        yield from _measure(spec, record, opened(), sizes, start)
    except WorkbenchError as error:
        record.failures.append(Failure(cause=f"Variable lengths are left out: {error.cause}", remedy=error.remedy))
    except Exception as error:  # ONNX Runtime has a kind for each code of its errors, without a common one
        cause = (
            f"Variable lengths are left out, because the graph could not be run at all of them: {first_line(error)}."
        )
        record.failures.append(Failure(cause=cause, remedy="Export it with a free number of tokens."))


def _measure(
    spec: EdgeSpec, record: Record, inputs: VariedInputs, sizes: Sequence[int], start: float
) -> Iterator[Progress]:
    n_inputs = len(inputs.lengths)
    if large := [str(s) for s in sizes if s > n_inputs]:
        cause = f"Variable lengths are left out at batch size {', '.join(large)}: there are {n_inputs} inputs."
        record.failures.append(Failure(cause=cause, remedy=f"Choose batch sizes up to {n_inputs} by --batches."))
    sizes = [s for s in sizes if s <= n_inputs]
    for n, batch in enumerate(sizes):
        kept = inputs.first(n_inputs // batch * batch)
        step = gettext_noop("inputs of different lengths, batch {size}").format(size=batch)
        fixed = _fixed_graph(kept, batch)
        try:
            for item in _results(spec, kept, fixed, batch=batch, seed=spec.seed + n):
                if isinstance(item, LengthsResult):
                    record.rows.append(item)
                else:
                    yield Progress(step=step, done=start + (n + item) * (100 - start) / len(sizes), total=100)
        finally:
            fixed.unlink()


def _fixed_graph(inputs: VariedInputs, batch: int) -> Path:
    """Write the graph with the sides of all its inputs fixed."""
    kind = inputs.of(np.arange(1), inputs.longest).dtype
    target = inputs.graph.with_name(f"static-{batch}.onnx")
    fix_sides(inputs.graph, target, {name: (batch, *kind[name].shape) for name in kind.names or ()})
    return target


def _results(
    spec: EdgeSpec, inputs: VariedInputs, fixed: Path, *, batch: int, seed: int
) -> Iterator[float | LengthsResult]:
    """Yield the share that is done and, last, the row of each padding at one batch size."""
    yield 0.0
    paddings = PADDINGS if batch > 1 else PADDINGS[:-1]  # order changes nothing where each input is a batch
    plans = {p: padded_batches(inputs.lengths, batch=batch, padding=p) for p in paddings}
    graphs = {p: fixed if p == "static" else inputs.graph for p in paddings}
    opened = {path: Graph(path, threads=spec.threads) for path in dict.fromkeys(graphs.values())}
    feeds = {p: [inputs.of(b.rows, b.n_tokens) for b in plan] for p, plan in plans.items()}
    differences = {
        p: 0.0 if p == "static" else largest_difference(inputs, plan, opened[inputs.graph], opened[fixed])
        for p, plan in plans.items()
    }
    answers: dict[str, Callable[[Output], None]] = {
        p: partial(_answer_all, opened[graphs[p]], feeds[p]) for p in paddings
    }
    timed: dict[str, Timed] = {}
    for item in interleaved_rounds(answers, np.zeros(1), batch=1, rounds=min(ROUNDS, spec.rounds), seed=seed, warm=1):
        if isinstance(item, float):
            yield item
        else:
            timed = {padding: _of_one(times, len(inputs.lengths)) for padding, times in item.items()}
    for padding in paddings:
        times = batch_times(timed[padding], reference=None if padding == "static" else timed["static"])
        costs = _footprint(spec, graphs[padding], [*feeds[padding], *feeds[padding]])
        middle = sorted(feeds[padding], key=lambda f: f.dtype.itemsize)[len(feeds[padding]) // 2]
        typical = _footprint(spec, graphs[padding], [middle, middle])
        energy_j, energy_source = costs.energy(spec.watts_per_core) if costs else (None, None)
        yield LengthsResult(
            padding=padding,
            batch=batch,
            source=inputs.source,
            lengths=TokenLengths.of(inputs.lengths.tolist()),
            n_tokens=sum(len(b.rows) * b.n_tokens for b in plans[padding]),
            difference_fraction=differences[padding],
            input_s=times.p50_s,
            input_interval_s=times.p50_interval_s,
            speedup=times.speedup,
            peak_bytes=costs.peak_bytes if costs else None,
            middle_batch_peak_bytes=typical.peak_bytes if typical else None,
            energy_j=energy_j,
            energy_source=energy_source,
        )


def _answer_all(graph: Graph, feeds: Sequence[Examples], _: object) -> None:
    for feed in feeds:
        graph(feed)


def _of_one(times: Timed, n: int) -> Timed:
    """Return the times of one input from those of all inputs together."""
    return Timed(rounds_s=[s / n for s in times.rounds_s], samples_s=[s / n for s in times.samples_s])


def _footprint(spec: EdgeSpec, graph: Path, feeds: Sequence[Examples]) -> Footprint | None:
    """Return what a process adds that answers batches one after another; None where it could not."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        files = [Path(scratch) / f"{i}.npy" for i in range(len(feeds))]
        for file, feed in zip(files, feeds, strict=True):
            np.save(file, feed)
        try:
            return footprint(graph, threads=spec.threads, inputs=files)
        except FootprintFailed:
            return None


def largest_difference(inputs: VariedInputs, plan: Sequence[PaddedBatch], own: Graph, fixed: Graph) -> float:
    """Return the largest difference at a real token from the answers to inputs of one fixed length, over the largest answer.

    Raises:
        NotAvailable: it is more than rounding explains, or an output cannot be compared.
    """
    axes = _token_axes(inputs, own, batch=len(plan[0].rows))
    largest, scales = np.zeros(len(axes)), np.full(len(axes), 1e-30)
    for part in plan:
        answers = own(inputs.of(part.rows, part.n_tokens)), fixed(inputs.of(part.rows, inputs.longest))
        for at, (axis, *outputs) in enumerate(zip(axes, *answers, strict=True)):
            for i, length in enumerate(inputs.lengths[part.rows]):
                a, b = (_real(np.asarray(o)[i], axis, length) for o in outputs)
                if a.shape != b.shape:
                    raise _incomparable(at)
                largest[at] = np.maximum(largest[at], np.abs(a - b).max(initial=0))
                scales[at] = np.maximum(scales[at], np.abs(b).max(initial=0))
    difference = float((largest / scales).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise NotAvailable(
            f"The answers of the graph change with the padding, by up to {difference:.2g} of the largest.",
            remedy="Export it with an attention mask that hides the padding everywhere.",
        )
    return difference


def _real(answer: Output, axis: int | None, length: int) -> Output:
    """Return an answer at the real tokens only; all of it where it has no axis of tokens."""
    real = answer if axis is None else answer.take(np.arange(min(length, answer.shape[axis])), axis=axis)
    return real.astype(np.float64)


def _token_axes(inputs: VariedInputs, graph: Graph, *, batch: int) -> list[int | None]:
    """Return the axis of tokens of each output in the answer to one input: the one whose length follows the inputs'."""
    answers = [graph(inputs.of(np.arange(batch), n)) for n in (int(inputs.lengths.min()), inputs.longest)]
    axes = []
    for at, (short, long) in enumerate(zip(*answers, strict=True)):
        if np.shape(short)[:1] != (batch,) or np.ndim(short) != np.ndim(long):
            raise _incomparable(at)
        sides = zip(short.shape[1:], long.shape[1:], strict=True)
        axes.append(next((axis for axis, (a, b) in enumerate(sides) if a != b), None))
    return axes


def _incomparable(at: int) -> NotAvailable:
    return NotAvailable(
        f"Output {at + 1} of the graph has no row for each input, or no place for each token, so that its padding cannot be cut off.",
        remedy="Export the graph without this output.",
    )
