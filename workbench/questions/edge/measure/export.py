"""The best graph as a folder that needs nothing else: graph, settings, measured figures, and a script that checks all three."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.questions.edge.measure.answers import all_outputs
from workbench.questions.edge.measure.graph import exported_inputs, loaded_graph
from workbench.questions.edge.rows import Choice, EnergySource, VariantResult
from workbench.questions.edge.spec import OWN_MODEL, EdgeSpec
from workbench.vision.digits import digits
from workbench.vision.graph_form import graph_form, read_examples
from workbench.vision.sessions import Examples, Graph

N_CHECKED = 64
CHECK = '''"""Checks that the graph answers here as it did where it was measured, and times it with the exported settings."""

import json
import time
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(__file__).resolve().parent
settings = json.loads((folder / "settings.json").read_text())
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = settings["threads"]
session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
held = np.load(folder / "expected.npz")
fixed = settings["fixed_batch"]
inputs = {i.name: held["in " + i.name] for i in session.get_inputs()}
n = len(next(iter(inputs.values())))


def answer(at, rows):
    feed = {name: x[at : at + rows] for name, x in inputs.items()}
    shapes = {i.name: len(i.shape) for i in session.get_inputs()}
    return session.run(None, {name: x[0] if x.ndim > shapes[name] else x for name, x in feed.items()})[0]


def decided(outputs):
    return outputs.argmax(1) if outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.dtype.kind == "f" else outputs


outputs = [answer(at, fixed or n) for at in range(0, n, fixed or n)]
own = decided(np.concatenate([np.atleast_1d(o) for o in outputs]))
expected = decided(held["out"])
near = np.isclose(own, expected, rtol=0.05, atol=0.05 * float(np.abs(expected).max() or 1))
same = float(np.mean((own == expected) if own.dtype.kind in "iu" else near))
rows = fixed or settings["batch"]
copies = {name: np.concatenate([x] * -(-rows // n))[:rows] for name, x in inputs.items()}
inputs = copies
for _ in range(5):
    answer(0, rows)
times = []
for _ in range(50):
    began = time.perf_counter()
    answer(0, rows)
    times.append(time.perf_counter() - began)
measured = json.loads((folder / "measured.json").read_text())
print(f"{100 * same:.1f} % of {n} answers are the same; p50 {1e6 * np.median(times):.1f} us a batch of {rows} "
      f"(where it was measured: {1e6 * measured['p50_s']:.1f} us on {measured['processor']})")
raise SystemExit(0 if same >= settings["least_same"] else "The answers differ: another runtime version or processor rounds otherwise.")
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSettings:
    """Contents of ``settings.json``: how to run the graph."""

    technique: str
    threads: int
    batch: int
    runtime: str
    input_shapes: Mapping[str, tuple[int, ...]]
    """Shape of one input, by name."""
    fixed_batch: int | None
    """Batch size where the graph takes no other."""
    least_same: float = 0.98
    """Share of the answers that must be the same where the graph is checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFigures:
    """Contents of ``measured.json``: figures of the graph, and the run that they come from."""

    p50_s: float
    p99_s: float
    inputs_per_s: float
    peak_bytes: int
    power_w: float
    power_source: EnergySource
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    n_bytes: int
    processor: str
    run: str
    date: str
    revision: str | None


def export_chosen(run: Run, job: Path, target: Path) -> None:
    """Write the best graph, its settings and its measured figures into a folder.

    Args:
        run: An edge run.
        job: Folder of its job, which keeps the graphs.
        target: Folder, which is created if needed; files of an earlier export are overwritten.

    Raises:
        NotAvailable: the run has no setting within its limits, or its graphs are gone.
    """
    choice = run.row(Choice)
    if choice is None:
        raise NotAvailable(
            "No setting of this run is within its limits.",
            remedy="Loosen its limits, or name a graph: no setting is chosen for a language model.",
        )
    graph = job / "graphs" / f"{choice.technique}.onnx"
    if not graph.exists():
        raise NotAvailable("The graphs of this run are gone.", remedy="Measure again with --export.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(graph, target / "model.onnx")
    inputs = _inputs(run, graph)
    fixed = graph_form(loaded_graph(graph)).batch
    outputs = all_outputs(Graph(graph, threads=1), inputs, fixed or len(inputs))
    arrays = {"out": outputs[0], **{f"in {name}": inputs[name] for name in _names(inputs)}}
    np.savez(target / "expected.npz", allow_pickle=False, **arrays)
    settings = ExportedSettings(
        technique=choice.technique,
        threads=choice.threads,
        batch=choice.batch,
        runtime=f"onnxruntime {run.environment.packages.get('onnxruntime', '')}".strip(),
        input_shapes={name: inputs.dtype[name].shape for name in _names(inputs)},
        fixed_batch=fixed,
    )
    _write(target / "settings.json", settings)
    _write(target / "measured.json", _figures(run, choice))
    (target / "check.py").write_text(CHECK)


def _figures(run: Run, choice: Choice) -> ExportedFigures:
    variant = next(v for v in run.rows(VariantResult) if v.technique == choice.technique)
    accuracy = variant.accuracy
    return ExportedFigures(
        p50_s=choice.times.p50_s,
        p99_s=choice.times.p99_s,
        inputs_per_s=choice.inputs_per_s,
        peak_bytes=choice.peak_bytes,
        power_w=choice.power_w,
        power_source=choice.power_source,
        accuracy=accuracy.fraction if accuracy else None,
        accuracy_interval=accuracy.interval if accuracy else None,
        n_bytes=variant.n_bytes,
        processor=run.environment.cpu,
        run=run.id,
        date=run.day,
        revision=run.environment.git_revision,
    )


def _write(file: Path, value: object) -> None:
    file.write_text(json.dumps(plain(value), indent=1) + "\n")


def _names(inputs: Examples) -> tuple[str, ...]:
    return inputs.dtype.names or ()


def _inputs(run: Run, graph: Path) -> Examples:
    spec = run.asked(EdgeSpec)
    if spec.model == OWN_MODEL:
        images = digits().test.images[:N_CHECKED]
        return read_examples(graph_form(loaded_graph(graph)), {"x": images}, graph)
    return exported_inputs(spec, graph, N_CHECKED)
