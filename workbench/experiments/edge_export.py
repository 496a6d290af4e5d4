"""The chosen graph as a folder that stands alone: graph, settings, measured figures, and a script that checks all three."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.edge import OWN_MODEL
from workbench.core.errors import NotAvailable
from workbench.core.runs import Run
from workbench.vision.digits import digits
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
found = session.run(None, {name: held["x"]})[0]
same = float(np.mean(found.argmax(1) == held["logits"].argmax(1)))
batch = np.concatenate([held["x"]] * -(-settings["batch"] // len(held["x"])))[: settings["batch"]]
for _ in range(5):
    session.run(None, {name: batch})
times = []
for _ in range(50):
    began = time.perf_counter()
    session.run(None, {name: batch})
    times.append(time.perf_counter() - began)
measured = json.loads((folder / "measured.json").read_text())
print(f"{100 * same:.1f} % of {len(found)} answers are the same; p50 {1e6 * np.median(times):.1f} us a batch of {settings['batch']} "
      f"(where it was measured: {1e6 * measured['p50_s']:.1f} us on {measured['processor']})")
raise SystemExit(0 if same >= settings["least_same"] else "The answers differ: another runtime version or processor rounds otherwise.")
'''


def export_chosen(run: Run, job: Path, target: Path) -> None:
    """Write the folder.

    Args:
        run: An edge run.
        job: Folder of its job, which keeps the graphs.
        target: Made if it is not there; files of an earlier export are written over.

    Raises:
        NotAvailable: the run chose nothing, or its graphs are gone.
    """
    choice = next((r for r in run.results if r["part"] == "choice"), None)
    if choice is None:
        raise NotAvailable(
            "This run chose no model.", remedy="Loosen its limits, or name a graph instead of a language model."
        )
    graph = job / "graphs" / f"{choice['technique']}.onnx"
    if not graph.exists():
        raise NotAvailable("The graphs of this run are gone.", remedy="Measure again with --export.")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(graph, target / "model.onnx")
    inputs = _inputs(run, graph)
    np.savez(target / "expected.npz", x=inputs, logits=Graph(graph, threads=1).logits(inputs))
    settings: dict[str, Any] = {
        "technique": choice["technique"],
        "threads": choice["threads"],
        "batch": choice["batch"],
        "runtime": f"onnxruntime {run.environment.packages.get('onnxruntime', '')}".strip(),
        "input_shape": list(input_shape(graph)),
        "least_same": 0.98,
    }
    variant = next(r for r in run.results if r["part"] == "variant" and r["technique"] == choice["technique"])
    kept = ("p50_s", "p99_s", "inputs_per_s", "peak_bytes", "power_w", "power_source")
    measured = {k: choice[k] for k in kept} | {
        "accuracy": variant.get("accuracy"),
        "accuracy_interval": variant.get("accuracy_interval"),
        "n_bytes": variant["n_bytes"],
        "processor": run.environment.cpu,
        "run": run.id,
        "date": run.day,
        "revision": run.environment.git_revision,
    }
    (target / "settings.json").write_text(json.dumps(settings, indent=1) + "\n")
    (target / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    (target / "check.py").write_text(CHECK)


def _inputs(run: Run, graph: Path) -> Any:
    if run.spec["model"] == OWN_MODEL:
        return digits()["test"].pictures[:N_CHECKED]
    if run.spec["data"]:
        with np.load(run.spec["data"]) as held:
            return held["x"][:N_CHECKED].astype(np.float32)
    return np.random.default_rng(run.seed).standard_normal((N_CHECKED, *input_shape(graph))).astype(np.float32)
