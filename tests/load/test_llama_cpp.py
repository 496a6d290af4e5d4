"""Loads on llama.cpp's own server, against its counters and against transformers."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("xllamacpp", reason="llama.cpp's server is not installed (package xllamacpp)")

from support import llama_cpp_server
from support.gguf_file import write_gguf

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.load.rows import LoadResult
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llama_cpp")
    write_gguf(Path(REFERENCE_MODEL), folder / "model.gguf")
    command = [sys.executable, llama_cpp_server.__file__, str(folder / "model.gguf")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        url = process.stdout.readline().strip()
        if not url and process.wait() == -signal.SIGILL:
            pytest.skip("llama.cpp's build has instructions that this processor lacks")
        assert url.startswith("http"), (folder / "log").read_text()[-2000:]
        yield url
        process.kill()


def counters(url):
    page = urllib.request.urlopen(f"{url}/metrics").read().decode()
    return {line.split()[0]: float(line.split()[1]) for line in page.splitlines() if line.startswith("llamacpp:")}


def test_its_greedy_answer_is_that_of_transformers(server):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    body = json.dumps({"prompt": "def read(", "max_tokens": 12, "temperature": 0}).encode()
    answer = json.load(urllib.request.urlopen(f"{server}/v1/completions", body))["choices"][0]["text"]
    tokenizer = AutoTokenizer.from_pretrained(REFERENCE_MODEL)
    model = AutoModelForCausalLM.from_pretrained(REFERENCE_MODEL, dtype=torch.float32)
    ids = tokenizer("def read(", return_tensors="pt").input_ids
    own = model.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    assert answer == tokenizer.decode(own)


@pytest.mark.parametrize("endpoint", ["completions", "chat", "responses"])
def test_a_load_counts_what_the_server_counts(server, endpoint):
    before = counters(server)
    spec = LoadSpec(
        url=server,
        model="reference",
        endpoint=endpoint,
        rate_per_s=4.0,
        duration_s=2.0,
        input_tokens=24,
        output_tokens=8,
        calibrate=False,
        probe=False,
    )
    result = run(spec).row(LoadResult)
    after = counters(server)
    assert result.counts.ok == result.counts.sent > 2
    produced = after["llamacpp:tokens_predicted_total"] - before["llamacpp:tokens_predicted_total"]
    assert set(result.token_source) == {"usage"}
    asked_first = 3 * 8  # questions before the load, which find out what the server understands
    assert result.tokens.output <= produced <= result.tokens.output + asked_first


def test_a_repeated_prompt_is_called_cached_and_a_fresh_one_is_not(server):
    spec = LoadSpec(
        url=server,
        model="reference",
        endpoint="completions",
        rate_per_s=4.0,
        duration_s=2.0,
        input_tokens=200,
        output_tokens=2,
        calibrate=False,
        probe=False,
    )
    fresh = run(spec).row(LoadResult)
    assert fresh.prefix_cache.hit_fraction < 0.2
    again = run(LoadSpec(**{**spec.to_dict(), "nonce": fresh.nonce})).row(LoadResult)
    assert again.prefix_cache.hit_fraction > 0.8
    assert "prefix-cache" in {w.kind for w in again.warnings}
