"""Which compression helps on this device: accuracy with its doubts, size, time in turns, memory, energy, and settings to run it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from workbench.core.edge import OWN_MODEL, TECHNIQUES, EdgeSpec
from workbench.core.progress import Progress
from workbench.core.runs import Environment, Run, last_run, utc_now
from workbench.core.statistics import mcnemar_p, share_interval
from workbench.experiments.edge_graph import graph_subject
from workbench.experiments.edge_language import language_rows
from workbench.experiments.edge_settings import adaptive_rows, chosen, settings_rows
from workbench.experiments.edge_timing import compared, cores_used, in_turns, times_of
from workbench.experiments.footprint import FootprintFailed, footprint
from workbench.telemetry.devices import chosen_device
from workbench.telemetry.environment import package_version, read_environment
from workbench.vision.digits import corrupted
from workbench.vision.encoder import TOKENS, WIDTH, TextEncoder
from workbench.vision.graphs import compressed_bytes, example, export
from workbench.vision.runtimes import RUNTIMES, is_installed
from workbench.vision.sessions import Graph
from workbench.vision.variants import DigitVariants, Distilled, Variant

KIND = "edge"
GRAPHS = "graphs"
GRID = ("fp32", "int8-static", "structured-half-int8", "student")
"""Techniques whose threads and batches are tried."""
BASES = {"student-int8": "student", "structured-half-int8": "structured-half"}
SIGNIFICANT = 0.05
RUNTIME_ROUNDS = 7
ENCODER = "text encoder, 6 layers of 384, 128 tokens"
ENCODER_BATCHES = (1, 4)
Floats = npt.NDArray[np.float32]


def run(spec: EdgeSpec, *, on_progress: Callable[[Progress], None] | None = None) -> Run:
    """The finished run of a spec; nothing is stored."""
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        return last_run(measure(spec, Path(folder)), on_progress)


def measure(spec: EdgeSpec, folder: Path) -> Iterator[Progress | Run]:
    """Progress and, last, the run; ``folder/graphs`` keeps the graphs, from which one can be exported."""
    started_at = utc_now()
    rows: list[Mapping[str, Any]] = []
    failures: list[Mapping[str, str]] = []
    graphs = folder / GRAPHS
    shutil.rmtree(graphs, ignore_errors=True)
    work = _digits if spec.model == OWN_MODEL else _graph if spec.model.endswith(".onnx") else _language
    for item in work(spec, graphs):
        if isinstance(item, Progress):
            yield item
        elif "cause" in item:
            failures.append(item)
        else:
            rows.append(item)
    yield Run(
        kind=KIND,
        spec=spec.to_dict(),
        environment=_environment(),
        started_at=started_at,
        finished_at=utc_now(),
        seed=spec.seed,
        results=rows,
        samples={},
        failures=failures,
    )


def _environment() -> Environment:
    """The machine, with the runtimes that are installed for comparison."""
    found = read_environment(chosen_device("cpu"))
    for name in ("scikit-learn", "openvino", "executorch"):
        version = package_version(name)
        found = found if version is None else found.with_package(name, version)
    return found


Found = Iterator[Progress | dict[str, Any]]


def _language(spec: EdgeSpec, _graphs: Path) -> Found:
    yield from language_rows(spec)


def _graph(spec: EdgeSpec, graphs: Path) -> Found:
    """Someone's own graph: what can be done without its training."""
    subject = graph_subject(spec, graphs)
    yield from _variant_rows(spec, subject.variants, subject.inputs, subject.labels, {}, {}, start=0.1)
    yield from subject.failures
    yield from _choose(spec, subject.variants, subject.inputs, dict.fromkeys(subject.variants, True))


def _digits(spec: EdgeSpec, graphs: Path) -> Found:
    variants = DigitVariants(graphs, threads=spec.threads, seed=spec.seed, most_lost=spec.most_lost, level=spec.level)
    for step, share in variants.make(spec.techniques):
        yield Progress(step=step, done=30 * share, total=100)
    made = {t: variants.made[t] for t in spec.techniques}
    test = variants.parts["test"]
    worn = corrupted(test.pictures, seed=spec.seed + 7)
    rows: list[dict[str, Any]] = []
    for item in _variant_rows(spec, made, test.pictures, test.labels, {"corrupted": worn}, variants.before, start=30):
        if not isinstance(item, Progress):
            rows.append(item)
        yield item
    for technique, found in variants.thresholds.items():
        if technique in made:
            yield {
                "part": "guarantee",
                "technique": technique,
                **asdict(found),
                **{f"held_out_{k}": v for k, v in variants.held_out(technique).items()},
                "n_held_out": len(test),
                "provenance": "measured",
            }
    yield Progress(step="other runtimes", done=60, total=100)
    yield from _runtime_rows(spec, variants, test.pictures)
    if "student" in made:
        for taught in variants.distilled(spec.distillation_seeds, spec.labels_per_class):
            if isinstance(taught, Distilled):
                yield from _distilled_rows(spec, taught)
            else:
                yield Progress(step=taught[0], done=60 + 20 * taught[1], total=100)
    yield Progress(step="threads and batches", done=82, total=100)
    allowed = {r["technique"]: _is_good(spec, r) for r in rows}
    yield from _choose(spec, made, test.pictures, allowed)
    yield Progress(step="a busy machine", done=94, total=100)
    yield from adaptive_rows(_levels(rows, made, allowed), test.pictures)


def _is_good(spec: EdgeSpec, row: Mapping[str, Any]) -> bool:
    """Whether a technique's accuracy lets it be chosen: no worse by a paired test, or by no more than may be lost."""
    return not row["is_worse"] or row["lost_accuracy"] <= spec.most_lost


def _choose(spec: EdgeSpec, made: Mapping[str, Variant], inputs: Floats, allowed: Mapping[str, bool]) -> Found:
    wanted = {t: made[t].graphs[0] for t in GRID if t in made and len(made[t].graphs) == 1}
    rows = settings_rows(spec, wanted, inputs, allowed)
    yield from rows
    best = chosen(rows)
    if best is None:
        yield {
            "cause": "No technique keeps all limits at any number of threads and batch.",
            "remedy": "Loosen a limit; the table of settings says which ones each breaks.",
        }
    else:
        yield {**best, "part": "choice"}


def _levels(
    rows: list[dict[str, Any]], made: Mapping[str, Variant], allowed: Mapping[str, bool]
) -> list[tuple[str, Path, int]]:
    """The float network, the fastest graph that is accurate enough, and the one midway between, from the slowest on."""
    single = [r for r in rows if len(made[r["technique"]].graphs) == 1 and allowed[r["technique"]]]
    usable = [r for r in single if r["technique"] == "fp32" or _verdict_at_one(r) == "faster"]
    order = sorted(usable, key=_p50_at_one, reverse=True)
    order = order[next(i for i, r in enumerate(order) if r["technique"] == "fp32") :]
    taken = [order[i] for i in sorted({0, len(order) // 2, len(order) - 1})]
    return [(r["technique"], made[r["technique"]].graphs[0], r["peak_bytes"] or r["n_bytes"]) for r in taken]


def _p50_at_one(row: Mapping[str, Any]) -> float:
    return float(row["times"][min(row["times"], key=int)]["p50_s"])


def _verdict_at_one(row: Mapping[str, Any]) -> str:
    times = row["times"]
    return str(times[min(times, key=int)].get("verdict", ""))


def _variant_rows(
    spec: EdgeSpec,
    made: Mapping[str, Variant],
    inputs: Floats,
    labels: npt.NDArray[np.int64] | None,
    others: Mapping[str, Floats],
    before: Mapping[str, float],
    *,
    start: float,
) -> Found:
    answers = {t: v.runner.logits for t, v in made.items()}
    timed: dict[int, Any] = {}
    for n, batch in enumerate(spec.batches):
        for item in in_turns(answers, inputs, batch=batch, rounds=spec.rounds, seed=spec.seed + n):
            if isinstance(item, float):
                done = start + (n + item) * 20 / len(spec.batches)
                yield Progress(step=f"timing batch {batch} in turns", done=done, total=100)
            else:
                timed[batch] = item
    reference = answers["fp32"](inputs).argmax(1)
    base_right = None if labels is None else reference == labels
    with tempfile.TemporaryDirectory(prefix="workbench-") as scratch:
        one = Path(scratch) / "one.npy"
        np.save(one, inputs[: max(spec.batches)])
        for i, (technique, variant) in enumerate(made.items()):
            yield Progress(step=f"memory and energy: {technique}", done=start + 20 + 10 * i / len(made), total=100)
            said = answers[technique](inputs).argmax(1)
            row: dict[str, Any] = {
                "part": "variant",
                "technique": technique,
                "label": TECHNIQUES[technique],
                "n": len(inputs),
                "flips": int(np.sum(said != reference)),
                "n_bytes": variant.runner.n_bytes,
                "gzip_bytes": sum(compressed_bytes(g) for g in variant.graphs),
                "note": variant.note,
                **_accuracy(said, labels, base_right),
                **{f"{k}_accuracy": _share_right(answers[technique](x), labels) for k, x in others.items()},
                "accuracy_before_tuning": before.get(technique),
                **_costs(spec, variant, one),
                "times": {
                    str(b): times_of(t[technique])
                    | ({} if technique == "fp32" else compared(t["fp32"], t[technique], seed=spec.seed))
                    | _against_base(t, technique, spec.seed)
                    for b, t in timed.items()
                },
                "provenance": "measured",
            }
            yield row


def _against_base(timed: Mapping[str, Any], technique: str, seed: int) -> dict[str, Any]:
    """Beside what a technique was applied to, where that is not the float network."""
    base = BASES.get(technique)
    if base is None or base not in timed:
        return {}
    return {"base": base, **{f"base_{k}": v for k, v in compared(timed[base], timed[technique], seed=seed).items()}}


def _share_right(logits: Floats, labels: npt.NDArray[np.int64] | None) -> float | None:
    return None if labels is None else float(np.mean(logits.argmax(1) == labels))


def _accuracy(
    said: npt.NDArray[np.int64], labels: npt.NDArray[np.int64] | None, base_right: npt.NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Of a variant beside the float network; without labels only its agreement is known."""
    if labels is None or base_right is None:
        return {"accuracy": None, "accuracy_interval": None, "mcnemar_p": None, "is_worse": False, "lost_accuracy": 0.0}
    right = said == labels
    found = share_interval(int(right.sum()), len(right))
    p = mcnemar_p(int(np.sum(base_right & ~right)), int(np.sum(right & ~base_right)))
    lost = float(base_right.mean() - right.mean())
    return {
        "accuracy": found.value,
        "accuracy_interval": [found.low, found.high],
        "mcnemar_p": p,
        "is_worse": p < SIGNIFICANT and lost > 0,
        "lost_accuracy": lost,
    }


def _costs(spec: EdgeSpec, variant: Variant, inputs: Path) -> dict[str, Any]:
    """Memory, processor time and energy of a graph alone; of two graphs in a row the memory is added, the rest is not known."""
    try:
        found = [
            footprint(g, threads=spec.threads, inputs=inputs)
            for g in dict.fromkeys(variant.graphs)
            if g.stem != "exit-rest"
        ]
    except FootprintFailed:
        return {"peak_bytes": None, "cpu_s": None, "energy_j": None, "energy_source": None}
    alone = found[0] if len(variant.graphs) == 1 else None
    counted = alone is not None and alone.energy_j is not None
    return {
        "peak_bytes": sum(f.peak_bytes for f in found),
        "cpu_s": alone.cpu_s if alone else None,
        "energy_j": (alone.energy_j if counted else alone.cpu_s * spec.watts_per_core) if alone else None,
        "energy_source": ("counter" if counted else "estimate") if alone else None,
    }


def _distilled_rows(spec: EdgeSpec, found: Distilled) -> Found:
    alone = np.array(found.labels_alone)
    for name, taught in (("same labels", found.taught), ("all labels", found.taught_by_all)):
        gains = np.array(taught) - alone
        half = (
            float(stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
            if len(gains) > 1
            else None
        )
        yield {
            "part": "distillation",
            "teacher": name,
            "labels_per_class": spec.labels_per_class,
            "alone": float(alone.mean()),
            "taught": float(np.mean(taught)),
            "gain": float(gains.mean()),
            "gain_interval": None if half is None else [float(gains.mean()) - half, float(gains.mean()) + half],
            "n_seeds": len(gains),
            "provenance": "measured",
        }


def _runtime_rows(spec: EdgeSpec, variants: DigitVariants, inputs: Floats) -> Found:
    """Two float networks in every runtime that is installed, in turns; those that are not say what installs them."""
    for runtime in RUNTIMES:
        if runtime.open is None or not is_installed(runtime):
            yield {
                "part": "runtime",
                "runtime": runtime.name,
                "subject": "any",
                "state": "not run",
                "remedy": runtime.remedy,
                "provenance": "measured",
            }
    yield from _subject_rows(
        spec, "convolutional network", variants.net, variants.made["fp32"].graphs[0], inputs, spec.batches
    )
    texts = np.random.default_rng(spec.seed).standard_normal((max(ENCODER_BATCHES), TOKENS, WIDTH)).astype(np.float32)
    encoder = TextEncoder().eval()
    graph = export(encoder, example(texts), variants.folder / "encoder.onnx", outputs=("embedding",))
    yield from _subject_rows(spec, ENCODER, encoder, graph, texts, ENCODER_BATCHES)
    graph.unlink()


def _subject_rows(
    spec: EdgeSpec, subject: str, net: Any, graph: Path, inputs: Floats, batches: tuple[int, ...]
) -> Found:
    answers: dict[str, Any] = {}
    few = inputs[:8]
    reference = Graph(graph, threads=spec.threads).logits(few)
    for runtime in RUNTIMES:
        if runtime.open is None or not is_installed(runtime):
            continue
        row = {"part": "runtime", "runtime": runtime.name, "subject": subject, "provenance": "measured"}
        try:
            answers[runtime.name] = runtime.open(net, graph, spec.threads)
            off = float(np.abs(answers[runtime.name](few) - reference).max())
        except Exception as error:  # whatever a runtime raises is the result of its row
            answers.pop(runtime.name, None)
            yield row | {"state": "failed", "remedy": f"{type(error).__name__}: {str(error)[:200]}"}
            continue
        if off > 1e-3 * float(np.abs(reference).max()):
            answers.pop(runtime.name)
            yield row | {"state": "failed", "remedy": f"Its answers differ from ONNX Runtime's by {off:.3g}."}
    for batch in batches:
        timed: Any = None
        for item in in_turns(answers, inputs, batch=batch, rounds=RUNTIME_ROUNDS, seed=spec.seed):
            timed = item
        for name, answer in answers.items():
            yield {
                "part": "runtime",
                "runtime": name,
                "subject": subject,
                "state": "measured",
                "batch": batch,
                "cores_used": cores_used(partial(answer, inputs[:batch])),
                **times_of(timed[name]),
                **(compared(timed["ONNX Runtime"], timed[name], seed=spec.seed) if name != "ONNX Runtime" else {}),
                "provenance": "measured",
            }
