"""Scores of lm-eval's tasks, run in lm-eval's own environment with the network off: their data must be on disk."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.core.errors import WorkbenchError

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


class TasksFailed(WorkbenchError):
    """lm-eval ended with an error, or without results."""


def task_scores(
    python: Path, place: str, *, tasks: Sequence[str], folder: str | None, scratch: Path, device: str
) -> dict[str, dict[str, float]]:
    """Return each metric of lm-eval by task, with its standard error as ``<metric>_stderr``.

    Args:
        python: Interpreter that has lm-eval.
        place: Folder of the model.
        tasks: Names of tasks.
        folder: Where the YAML files of one's own tasks are; None: only lm-eval's.
        scratch: For results and the log; it exists.
        device: "cpu" or "cuda".

    Raises:
        TasksFailed: a task is unknown or its data is not on disk; the last error line is in the message.
    """
    out, log = scratch / "lm_eval", scratch / "lm_eval.log"
    command = [str(python), "-P", "-m", "lm_eval", "--model", "hf", "--model_args", f"pretrained={place},dtype=float32"]
    command += ["--tasks", ",".join(tasks), "--device", device, "--batch_size", "8", "--output_path", str(out)]
    command += ["--include_path", folder] if folder else []
    with log.open("w") as written:
        done = subprocess.run(command, stdout=written, stderr=written, env=os.environ | OFFLINE, check=False)
    results = sorted(out.rglob("results*.json"), key=lambda p: p.stat().st_mtime)
    if done.returncode or not results:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "not found" in line.lower()]
        cause = (errors or lines or ["no message"])[-1][-300:]
        raise TasksFailed(
            f"lm-eval ended with code {done.returncode}: {cause}",
            remedy="Name tasks whose data is on disk (the network is off), and --task-folder for your own.",
        )
    return scores_in(json.loads(results[-1].read_text()))


def scores_in(document: Mapping[str, Mapping[str, Mapping[str, object]]]) -> dict[str, dict[str, float]]:
    """Return the numbers of a result file of lm-eval: ``acc,none`` becomes ``acc``; other filters keep their name."""
    scores: dict[str, dict[str, float]] = {}
    for task, metrics in document["results"].items():
        scores[task] = {
            name.removesuffix(",none").replace("_stderr,none", "_stderr"): float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
    return scores
