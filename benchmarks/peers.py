"""Other load generators against the same mock server, each in its own environment, when they are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from workbench.apparatus.mock_dialects import Truth
from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.engines import environments
from workbench.load.peers.files import read_peers
from workbench.load.peers.result import PeerResult

VLLM_BENCH = (
    "import argparse, asyncio; from vllm.benchmarks.serve import add_cli_args, main_async;"
    "p = argparse.ArgumentParser(); add_cli_args(p); asyncio.run(main_async(p.parse_args()))"
)
LIMIT_S = 300.0


def installed() -> dict[str, str]:
    """Name and program of each peer on this machine: ``$GUIDELLM`` and ``$AIPERF`` or the path, vLLM's environment."""
    found = {
        "guidellm": os.environ.get("GUIDELLM") or shutil.which("guidellm"),
        "aiperf": os.environ.get("AIPERF") or shutil.which("aiperf"),
    }
    vllm = environments.find("vllm", device="cpu")
    return {k: v for k, v in {**found, "vllm bench": str(vllm.python) if vllm else None}.items() if v}


def _guidellm(program: str, url: str, rate: float, n: int, folder: Path) -> tuple[list[str], Path]:
    command = [program, "run", "--backend", f"kind=openai_http,target={url},model=mock,request_format=/v1/completions"]
    command += ["--profile", f"kind=poisson,rate={rate:g}", "--constraint", f"kind=max_requests,count={n}"]
    command += ["--tokenizer", f"kind=huggingface_auto,model={REFERENCE_MODEL}"]
    command += ["--data", "kind=synthetic_text,prompt_tokens=64,output_tokens=64"]
    command += ["--output", f"kind=json,path={folder / 'out.json'}", "--disable-console-interactive"]
    return command, folder / "out.json"


def _aiperf(program: str, url: str, rate: float, n: int, folder: Path) -> tuple[list[str], Path]:
    command = [program, "profile", "--model", "mock", "--url", url, "--endpoint-type", "completions", "--streaming"]
    command += ["--tokenizer", str(REFERENCE_MODEL), "--request-rate", f"{rate:g}", "--request-count", str(n)]
    command += ["--synthetic-input-tokens-mean", "64", "--synthetic-input-tokens-stddev", "0"]
    command += ["--output-tokens-mean", "64", "--output-tokens-stddev", "0"]
    return [*command, "--artifact-dir", str(folder), "--ui", "none"], folder / "profile_export.jsonl"


def _vllm_bench(program: str, url: str, rate: float, n: int, folder: Path) -> tuple[list[str], Path]:
    command = [program, "-c", VLLM_BENCH, "--backend", "openai", "--base-url", url, "--endpoint", "/v1/completions"]
    command += ["--model", "mock", "--tokenizer", str(REFERENCE_MODEL), "--dataset-name", "random"]
    command += ["--random-input-len", "64", "--random-output-len", "64", "--request-rate", f"{rate:g}"]
    command += ["--num-prompts", str(n), "--save-result", "--save-detailed", "--disable-tqdm", "--ignore-eos"]
    return [*command, "--result-filename", str(folder / "out.json")], folder / "out.json"


COMMANDS: dict[str, Callable[[str, str, float, int, Path], tuple[list[str], Path]]] = {
    "guidellm": _guidellm,
    "aiperf": _aiperf,
    "vllm bench": _vllm_bench,
}


def measure(name: str, program: str, rate: float, duration_s: float) -> dict[str, Any]:
    """What a peer reports against what the mock server wrote down; ``error`` when it did not finish."""
    with (
        MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)) as mock,
        tempfile.TemporaryDirectory(prefix="workbench-") as folder,
    ):
        command, result = COMMANDS[name](program, mock.url, rate, round(rate * duration_s), Path(folder))
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=folder)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {LIMIT_S:g} s"}
        found = read_peers(result)
        if found is None:
            return {"error": (done.stderr or done.stdout).strip()[-300:]}
        return _against(mock.truth(), found[0])


def _against(truth: Mapping[str, Truth], peer: PeerResult) -> dict[str, Any]:
    answered = [t for t in truth.values() if len(t.writes_s) > 1]
    true_first = [t.writes_s[0] - t.arrived_s for t in answered]
    true_gaps = np.concatenate([np.diff(t.writes_s) for t in answered])
    ok = [r for r in peer.records if r.ok and r.sent_s is not None]
    first = [r.chunk_s[0] - r.sent_s for r in ok]
    gaps = np.concatenate([np.diff(r.chunk_s) for r in ok]) if peer.has_gaps else None
    sent = sorted(r.sent_s for r in ok)
    return {
        "ttft_p99_error_ms": 1e3 * float(np.quantile(first, 0.99) - np.quantile(true_first, 0.99)),
        "itl_p99_error_ms": None
        if gaps is None
        else 1e3 * float(np.quantile(gaps, 0.99) - np.quantile(true_gaps, 0.99)),
        "sent_per_s": (len(sent) - 1) / (sent[-1] - sent[0]),
        "truth_ttft_p99_ms": 1e3 * float(np.quantile(true_first, 0.99)),
        "answered": len(ok),
        "tool": peer.tool,
    }
