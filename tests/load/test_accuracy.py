"""The load generator reports what the mock server's own log says, also where other tools go wrong."""

import numpy as np
import pytest

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.load import LoadSpec
from workbench.experiments.load import run
from workbench.load.prompts import open_tokenizer, single_token_words
from workbench.testing.mock_process import MockProcess
from workbench.testing.mock_server import WORDS, MockSettings

TOKENS = 32


def load(settings, **changes):
    """Run a load; its answers, its requests and the server's log of each of them."""
    with MockProcess(settings) as mock:
        values = {"rate_per_s": 20.0, "duration_s": 4.0, "arrivals": "constant", "output_tokens": TOKENS}
        spec = LoadSpec(**{"url": mock.url, "model": "mock", "calibrate": False, **values, **changes})
        found = run(spec)
        truth = {int(k.rpartition("-")[2]): v for k, v in mock.truth().items() if "-" in k}
    return found, found.samples["requests"], truth


def true_latencies(found, rows, truth):
    """The same figures from the server's side: its writes, and the client's due and sent times."""
    start = found.samples["started_monotonic_s"]
    out = {"ttft_sent": [], "ttft_due": [], "e2e_due": [], "e2e_sent": [], "tpot": [], "gaps": []}
    for i, row in enumerate(rows):
        true = truth.get(i)
        if true is None or true["status"] != 200 or true["tokens"] < TOKENS:
            continue
        writes = np.array(true["writes_s"]) - start
        out["ttft_sent"].append(writes[0] - row["sent_s"])
        out["ttft_due"].append(writes[0] - row["due_s"])
        out["e2e_sent"].append(writes[-1] - row["sent_s"])
        out["e2e_due"].append(writes[-1] - row["due_s"])
        out["tpot"].append((writes[-1] - writes[0]) / sum(true["chunk_tokens"][1:]))
        out["gaps"] += list(np.diff(writes))
    return out


def assert_close(found, rows, truth):
    true = true_latencies(found, rows, truth)
    answers = found.results[0]
    pairs = {
        "ttft_sent": ("ttft_s", "from_sent"),
        "ttft_due": ("ttft_s", "from_due"),
        "e2e_sent": ("e2e_s", "from_sent"),
        "e2e_due": ("e2e_s", "from_due"),
        "tpot": ("tpot_s", "from_due"),
        "gaps": ("itl_s", "from_due"),
    }
    for key, (name, origin) in pairs.items():
        for figure, value in (
            ("mean", np.mean(true[key])),
            ("p50", np.median(true[key])),
            ("p99", np.quantile(true[key], 0.99)),
        ):
            reported = answers[name][origin][figure]
            # A scheduling pause of this machine may fall between the write and the read: 3 ms are allowed at p99.
            allowed = 0.05 * value + (0.003 if figure == "p99" else 0.0005)
            assert reported == pytest.approx(value, abs=allowed), (key, figure)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (MockSettings(), {}),
        (MockSettings(role_chunk=True, ttft_s=0.3), {"endpoint": "chat"}),
        (MockSettings(tokens_per_chunk=4), {}),
        (MockSettings(tokens_per_chunk=4, usage=False), {"tokenizer": str(REFERENCE_MODEL)}),
        (MockSettings(error_every=10), {}),
        (MockSettings(ttft_sigma=0.5, itl_sigma=0.5), {"arrivals": "poisson"}),
    ],
    ids=["plain", "role chunk", "four tokens per chunk", "no usage", "errors", "drawn times"],
)
def test_reported_figures_are_the_true_ones(settings, changes):
    found, rows, truth = load(settings, **changes)
    assert_close(found, rows, truth)
    counts, answers = found.results[0]["counts"], found.results[0]
    n = len(rows)
    errors = n // 10 if settings.error_every else 0
    assert abs(counts["failed"] - errors) <= 1  # the preflight is a request, too
    assert counts["ok"] + counts["failed"] == counts["due"] == n
    assert answers["tokens"]["output"] == counts["ok"] * TOKENS
    true_tokens = sum(t["tokens"] for i, t in truth.items())
    span = max(t["writes_s"][-1] for t in truth.values() if t["writes_s"]) - found.samples["started_monotonic_s"]
    assert answers["rates"]["output_tokens_per_s"] == pytest.approx(true_tokens / span, rel=0.05)


def test_a_frozen_server_shows_in_latency_from_due_under_a_cap():
    settings = MockSettings(stall_at_s=3.0, stall_s=3.0)
    found, rows, truth = load(settings, duration_s=8.0, concurrency=16, output_tokens=TOKENS)
    assert_close(found, rows, truth)
    answers = found.results[0]
    assert answers["e2e_s"]["from_due"]["mean"] > 1.3 * answers["e2e_s"]["from_sent"]["mean"]
    assert answers["queued_at_client_s"]["p99"] > 1.0


def test_where_nobody_counts_tokens_the_source_says_so():
    found, rows, _ = load(MockSettings(usage=False), duration_s=1.0)
    assert found.results[0]["token_source"] == {"chunks": len(rows)}


def test_the_words_of_the_mock_are_one_token_each():
    tokenizer = open_tokenizer(str(REFERENCE_MODEL))
    assert len(tokenizer.encode("".join(WORDS), add_special_tokens=False).ids) == len(WORDS)
    words = single_token_words(tokenizer)[:300]
    assert len(tokenizer.encode(" " + " ".join(words), add_special_tokens=False).ids) == len(words)


def test_calibration_gives_a_verdict_on_the_client():
    found, _, _ = load(MockSettings(), duration_s=1.0, calibrate=True)
    health = found.results[0]["client_health"]
    assert health["calibration_ttft_p99_error_s"] is not None
    assert health["verdict"] in {"good", "doubtful", "client-bound"}
    assert health["reason"]
