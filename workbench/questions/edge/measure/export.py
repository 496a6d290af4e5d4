"""The best graph as a folder that needs nothing else: graph, settings, measured figures, and a script that checks all three."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.core.errors import NotAvailable
from workbench.core.rows import plain
from workbench.core.runs import Run
from workbench.questions.edge.measure.graph import inputs_of
from workbench.questions.edge.rows import Choice, EnergySource, VariantResult
from workbench.questions.edge.spec import OWN_MODEL, EdgeSpec
from workbench.vision.digits import Floats, digits
from workbench.vision.graphs import input_shape
from workbench.vision.sessions import Graph

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
name = session.get_inputs()[0].name
logits = session.run(None, {name: held["x"]})[0]
same = float(np.mean(logits.argmax(1) == held["logits"].argmax(1)))
batch = np.concatenate([held["x"]] * -(-settings["batch"] // len(held["x"])))[: settings["batch"]]
for _ in range(5):
    session.run(None, {name: batch})
times = []
for _ in range(50):
    began = time.perf_counter()
    session.run(None, {name: batch})
    times.append(time.perf_counter() - began)
measured = json.loads((folder / "measured.json").read_text())
print(f"{100 * same:.1f} % of {len(logits)} answers are the same; p50 {1e6 * np.median(times):.1f} us a batch of {settings['batch']} "
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
    input_shape: tuple[int, ...]
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
            remedy="Loosen its limits, or name a graph instead of a language model.",
        )
    graph = job / "graphs" / f"{choice.technique}.onnx"
    if not graph.exists():
        raise NotAvailable("The graphs of this run are gone.", remedy="Measure again with --export.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(graph, target / "model.onnx")
    inputs = _inputs(run, graph)
    np.savez(target / "expected.npz", x=inputs, logits=Graph(graph, threads=1).logits(inputs))
    settings = ExportedSettings(
        technique=choice.technique,
        threads=choice.threads,
        batch=choice.batch,
        runtime=f"onnxruntime {run.environment.packages.get('onnxruntime', '')}".strip(),
        input_shape=input_shape(graph),
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


def _inputs(run: Run, graph: Path) -> Floats:
    spec = run.asked(EdgeSpec)
    if spec.model == OWN_MODEL:
        return digits().test.images[:N_CHECKED]
    if spec.data:
        return inputs_of(Path(spec.data))[0][:N_CHECKED]
    return np.random.default_rng(run.seed).standard_normal((N_CHECKED, *input_shape(graph))).astype(np.float32)
