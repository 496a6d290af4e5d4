"""How far the load generator's figures are from the truth: against the mock server's own log, by request rate.

    .venv/bin/python benchmarks/load.py --rates 10,50,100,200,500 --repeats 3      prints JSON
    .venv/bin/python benchmarks/load.py --crowds                                   many users, long prompts

64 tokens a request, TTFT 50 ms, 10 ms between tokens, Poisson arrivals. The rates are interleaved; every figure is
the median over the repeats. With --table they are printed as a Markdown table, with the load average, instead of JSON. With --peers, guidellm, AIPerf and ``vllm bench serve`` are measured interleaved with it where they are installed. The mock's own timing is in the output too: where the truth's p99 leaves the setting,
the machine is short of processor time and the errors say little.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import peers
import psutil

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.load.measure import errors_against
from workbench.load.messages import LoadProgress
from workbench.load.process import LoadProcess
from workbench.load.spec import LoadSpec

ROOT = Path(__file__).parents[1]


def one(rate: float, duration_s: float, seed: int) -> dict[str, float]:
    """One load from a cold call; the moment of the call is taken before the process is started."""
    with MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)) as mock:
        called = time.perf_counter()
        spec = LoadSpec(
            url=mock.url,
            model="mock",
            rate_per_s=rate,
            duration_s=duration_s,
            output_tokens=64,
            calibrate=False,
            seed=seed,
        )
        memory = 0
        with LoadProcess() as process:
            child = psutil.Process(process.pid)
            for message in process.messages(spec):
                if isinstance(message, LoadProgress):
                    memory = max(memory, child.memory_full_info().pss)
                else:
                    sent = message
        truth = mock.truth()
    ttft_error, itl_error = errors_against(truth, sent)
    true_first = [t.writes_s[0] - t.arrived_s for t in truth.values() if t.writes_s]
    true_gaps = np.concatenate([np.diff(t.writes_s) for t in truth.values()])
    chunks = sorted(at for r in sent.requests for at in r.chunk_s)
    left = [r for r in sent.requests if r.sent_s is not None]
    late = [r.sent_s - r.due_s - r.connect_s for r in left]
    return {
        "ttft_p99_error_ms": ttft_error * 1e3,
        "itl_p99_error_ms": itl_error * 1e3,
        "tokens_per_s": len(chunks) / (chunks[-1] - chunks[0]),
        "first_request_after_s": sent.started_monotonic_s + left[0].sent_s - called,
        "pss_mb": memory / 1e6,
        "cpu_fraction": sent.cpu_fraction,
        "send_lateness_p99_ms": float(np.quantile(late, 0.99)) * 1e3,
        "truth_ttft_p99_ms": float(np.quantile(true_first, 0.99)) * 1e3,
        "truth_itl_p99_ms": float(np.quantile(true_gaps, 0.99)) * 1e3,
        "sent_per_s": (len(left) - 1) / (max(r.sent_s for r in left) - min(r.sent_s for r in left)),
        "failed": sum(r.error is not None for r in sent.requests),
    }


def many(settings: MockSettings, **load: Any) -> dict[str, float]:
    """A load of many users or long prompts from a cold call: when its first requests leave, how long it goes on, its memory."""
    with MockProcess(settings) as mock, LoadProcess() as process:
        called = time.perf_counter()
        spec = LoadSpec(url=mock.url, model="mock", calibrate=False, **load)
        *_, sent = process.messages(spec)
        memory = Path(f"/proc/{process.pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    left = sorted(r.sent_s for r in sent.requests if r.sent_s is not None)
    first = left[: load.get("concurrency") or len(left)]
    return {
        "requests": len(sent.requests),
        "first_request_after_s": sent.started_monotonic_s + first[0] - called,
        "all_users_sent_after_s": sent.started_monotonic_s + first[-1] - called,
        "last_due_s": max(r.due_s for r in sent.requests),
        "peak_memory_mb": int(memory) / 1e3,
        "cpu_fraction": sent.cpu_fraction,
        "failed": sum(r.error is not None for r in sent.requests),
    }


CROWDS: dict[str, tuple[MockSettings, dict[str, Any]]] = {
    "2,000 users in a closed loop": (
        MockSettings(ttft_s=0.5, itl_s=0.02),
        {"arrivals": "closed", "concurrency": 2000, "duration_s": 15.0, "input_tokens": 64, "output_tokens": 32},
    ),
    "300 prompts of 128k": (
        MockSettings(ttft_s=0.5, itl_s=0.01),
        {"arrivals": "constant", "rate_per_s": 1000.0, "duration_s": 0.3, "input_tokens": 128_000, "output_tokens": 8},
    ),
}


def _medians(samples: list[dict[str, Any]]) -> dict[str, float]:
    names = {k for s in samples for k, v in s.items() if isinstance(v, float | int)}
    return {k: round(statistics.median([s[k] for s in samples if s.get(k) is not None]), 3) for k in sorted(names)}


FIGURES = {"TTFT p99": "ttft_p99_error_ms", "ITL p99": "itl_p99_error_ms", "sent/s": "sent_per_s"}


def table(report: dict[str, Any]) -> str:
    """Errors of each tool by request rate as a Markdown table, in ms; a tool that did not finish has its cause below."""
    tools = {"workbench": report["medians"]} | {
        name: {rate: found["medians"] for rate, found in by_rate.items()} for name, by_rate in report["peers"].items()
    }
    lines = [f"| requests/s | error of | {' | '.join(tools)} |", "| --- | --- |" + " --- |" * len(tools)]
    for rate in report["medians"]:
        for label, field in FIGURES.items():
            values = [tools[name][rate].get(field) for name in tools]
            if any(v is not None for v in values):
                shown = " | ".join("not known" if v is None else f"{v:.3g}" for v in values)
                lines.append(f"| {rate} | {label} | {shown} |")
    failed = [
        f"{name} at {rate}/s: {sample['error']}"
        for name, by_rate in report["peers"].items()
        for rate, found in by_rate.items()
        for sample in found["samples"]
        if "error" in sample
    ]
    load = ", ".join(f"{x:.1f}" for x in report["machine"]["load_average"])
    return "\n".join([*lines, "", f"Load average at the end: {load}; {report['date']}; {report['revision']}.", *failed])


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", default="10,50,100,200,500")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--duration", type=float, default=8.0)
    parser.add_argument("--peers", action="store_true", help="run guidellm, AIPerf and vllm bench too, if installed")
    parser.add_argument("--table", action="store_true", help="print a Markdown table instead of JSON")
    parser.add_argument(
        "--crowds", action="store_true", help="measure 2,000 users and 300 prompts of 128k tokens instead"
    )
    arguments = parser.parse_args()
    if arguments.crowds:
        print(json.dumps({name: many(settings, **load) for name, (settings, load) in CROWDS.items()}, indent=1))
        return
    programs = peers.installed() if arguments.peers else {}
    others: dict[str, dict[float, list[dict[str, Any]]]] = {name: {} for name in programs}
    rates = [float(r) for r in arguments.rates.split(",")]
    samples: dict[float, list[dict[str, float]]] = {r: [] for r in rates}
    for repeat in range(arguments.repeats):
        for rate in rates:
            samples[rate].append(one(rate, arguments.duration, repeat))
            for name, program in programs.items():
                others[name].setdefault(rate, []).append(peers.measure(name, program, rate, arguments.duration))
    revision = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": "benchmarks/load.py " + " ".join(sys.argv[1:]),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()},
        "revision": revision,
        "medians": {
            f"{rate:g}": {k: round(statistics.median(s[k] for s in found), 3) for k in found[0]}
            for rate, found in samples.items()
        },
        "peers": {
            name: {f"{rate:g}": {"medians": _medians(found), "samples": found} for rate, found in by_rate.items()}
            for name, by_rate in others.items()
        },
        "samples": {f"{rate:g}": found for rate, found in samples.items()},
    }
    print(table(report) if arguments.table else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
