"""A language model on a small device: its ONNX variants from the quantization experiment, as rows of the edge table."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.core.edge import EdgeSpec
from workbench.core.progress import Progress
from workbench.core.quantization import QuantizationSpec
from workbench.core.runs import Run
from workbench.experiments import quantization
from workbench.experiments.edge_timing import Timed, compared, times_of

METHODS = {
    "onnx-fp32": "fp32",
    "onnx-int8-static": "int8-static",
    "onnx-int8-dynamic": "int8-dynamic",
    "onnx-int4-g32": "int4",
}
LABELS = {
    "fp32": "float32 in ONNX Runtime",
    "int8-static": "static INT8 (down projections in float)",
    "int8-dynamic": "dynamic INT8 (down projections in float)",
    "int4": "4-bit weights, 32 to a scale",
}
BATCHES = (1, 8)
STEPS = 32  # of a round


def language_rows(spec: EdgeSpec) -> Iterator[Progress | dict[str, Any]]:
    """Perplexity, flips, size, memory and times of steps; a token is flipped where its likeliest successor is another."""
    asked = QuantizationSpec(
        model=spec.model,
        methods=tuple(METHODS),
        batches=BATCHES,
        decode_tokens=STEPS,
        rounds=max(5, spec.rounds // 2),
        device="cpu",
        seed=spec.seed,
    )
    with tempfile.TemporaryDirectory(prefix="workbench-") as folder:
        for item in quantization.measure(asked, Path(folder)):
            if not isinstance(item, Run):
                yield item
                continue
            rows = {r["method"]: r for r in item.results if r["status"] == "measured"}
            base = rows.get("onnx-fp32")
            yield from item.failures  # type: ignore[misc]
            for method, row in rows.items():
                if method in METHODS and base is not None:
                    yield _row(METHODS[method], row, base, item, spec.seed)


def _row(technique: str, row: Mapping[str, Any], base: Mapping[str, Any], run: Run, seed: int) -> dict[str, Any]:
    times = {}
    samples = run.samples["decode_s"]
    for batch in BATCHES:
        own, reference = (_timed(samples, m, batch) for m in (row["method"], base["method"]))
        beside = {} if technique == "fp32" else compared(reference, own, seed=seed)
        times[str(batch)] = times_of(own) | beside
    return {
        "part": "variant",
        "technique": technique,
        "label": LABELS[technique],
        "n": row["n_tokens"],
        "accuracy": None,
        "perplexity": row["perplexity"],
        "perplexity_change_fraction": row["perplexity_change_fraction"],
        "perplexity_change_interval": [row["perplexity_change_fraction_low"], row["perplexity_change_fraction_high"]],
        "flips": round((1 - row["top1_agreement_fraction"]) * row["n_tokens"]) if technique != "fp32" else 0,
        "n_bytes": row["weight_bytes"],
        "peak_bytes": row["peak_memory_bytes"],
        "times": times,
        "provenance": "measured",
    }


def _timed(samples: Any, method: str, batch: int) -> Timed:
    """Steps of each round: a round has so many, one after another."""
    steps = np.array(samples[method][str(batch)])
    rounds = np.split(steps[: len(steps) // STEPS * STEPS], max(1, len(steps) // STEPS))
    return Timed(rounds_s=[float(np.median(r)) for r in rounds], samples_s=[float(x) for r in rounds for x in r])
