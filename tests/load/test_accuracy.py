"""The load generator reports what the mock server's own log says, also where other tools go wrong.

How close its times are to the server's is measured by ``benchmarks/load.py``; here stands what was counted, ordered and computed.
"""

import numpy as np
import pytest

from workbench.apparatus.mock_process import MockProcess
from workbench.apparatus.mock_server import WORDS, MockSettings
from workbench.catalog.paths import REFERENCE_MODEL
from workbench.load.prompts import open_tokenizer, single_token_words
from workbench.load.rows import LoadResult, LoadSamples
from workbench.load.spec import LoadSpec
from workbench.measuring.envelope import run

TOKENS = 32
ROUNDED_S = 1e-5  # rows hold microseconds


def load(settings, **changes):
    """Run a load; its answers, its requests and the server's log of each of them."""
    with MockProcess(settings) as mock:
        values = {"rate_per_s": 40.0, "duration_s": 1.0, "arrivals": "constant", "output_tokens": TOKENS}
        spec = LoadSpec(**{"url": mock.url, "model": "mock", "calibrate": False, **values, **changes})
        measured = run(spec)
        truth = {int(k.rpartition("-")[2]): v for k, v in mock.truth().items() if "-" in k}
    return measured, measured.sampled(LoadSamples).requests, truth


def arrivals(row):
    """When each chunk of an answer came, in seconds since the start."""
    return np.array(row.chunk_s)


def assert_ordered(measured, rows, truth, *, ttft_s=0.0):
    """Every chunk was seen once, after the server had written the one before it, and the first not before it was due."""
    start = measured.sampled(LoadSamples).started_monotonic_s
    for i, row in enumerate(rows):
        if row.error:
            continue
        writes, seen = np.array(truth[i].writes_s) - start, arrivals(row)
        assert len(seen) == len(writes)
        assert (seen[1:] > writes[:-1] - ROUNDED_S * len(writes)).all()
        assert seen[0] >= truth[i].arrived_s - start + 0.95 * ttft_s - ROUNDED_S
        assert row.due_s <= row.sent_s + 1e-3
        assert row.sent_s < seen[0] <= row.end_s + ROUNDED_S


def assert_computed(measured, rows):
    """The figures of the answer are those of its requests."""
    ok = [r for r in rows if not r.error]
    gaps = np.concatenate([r.gaps_us for r in ok]) / 1e6
    values = {("itl_s", "from_due"): gaps}
    for origin in ("due", "sent"):
        values["ttft_s", f"from_{origin}"] = np.array([r.first_content_s - getattr(r, f"{origin}_s") for r in ok])
        values["e2e_s", f"from_{origin}"] = np.array([r.end_s - getattr(r, f"{origin}_s") for r in ok])
    for (name, origin), seconds in values.items():
        reported = getattr(getattr(measured.row(LoadResult), name), origin)
        assert reported.mean == pytest.approx(seconds.mean(), abs=ROUNDED_S)
        assert reported.n - reported.n_censored == len(seconds)
        if len(ok) == len(rows):
            assert reported.p50 == pytest.approx(np.median(seconds), abs=ROUNDED_S)
            assert reported.p99 == pytest.approx(np.quantile(seconds, 0.99), abs=ROUNDED_S)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        (MockSettings(), {}),
        (MockSettings(role_chunk=True, ttft_s=0.3), {"endpoint": "chat"}),
        (MockSettings(tokens_per_chunk=4), {}),
        (MockSettings(tokens_per_chunk=4, usage=False), {"tokenizer": str(REFERENCE_MODEL)}),
        (MockSettings(error_every=10), {}),
        (MockSettings(itl_sigma=0.5), {"arrivals": "poisson"}),
    ],
    ids=["plain", "role chunk", "four tokens per chunk", "no usage", "errors", "drawn times"],
)
def test_reported_figures_are_the_true_ones(settings, changes):
    measured, rows, truth = load(settings, **changes)
    assert_ordered(measured, rows, truth, ttft_s=settings.ttft_s)
    assert_computed(measured, rows)
    answers = measured.row(LoadResult)
    counts, n = answers.counts, len(rows)
    errors = n // 10 if settings.error_every else 0
    assert abs(counts.failed - errors) <= 1  # the preflight is a request, too
    assert counts.ok + counts.failed == counts.due == n
    assert answers.tokens.output == counts.ok * TOKENS == sum(t.tokens for t in truth.values())
    span = max(r.end_s for r in rows) - rows[0].due_s
    assert answers.rates.output_tokens_per_s == pytest.approx(counts.ok * TOKENS / span, rel=1e-3)


def test_a_frozen_server_shows_in_latency_from_due_under_a_cap():
    """Forty requests a second, sixteen at once: what comes while the server is frozen waits at the client."""
    measured, rows, truth = load(
        MockSettings(stall_at_s=1.5, stall_s=2.0), rate_per_s=40.0, duration_s=3.0, concurrency=16
    )
    assert_ordered(measured, rows, truth)
    assert_computed(measured, rows)
    waiting = [r for r in rows if r.sent_s - r.due_s > 1.0]
    assert len(waiting) >= 10
    assert all(r.end_s - r.due_s > r.end_s - r.sent_s + 1.0 for r in waiting)
    answers = measured.row(LoadResult)
    assert answers.e2e_s.from_due.mean > answers.e2e_s.from_sent.mean
    assert answers.queued_at_client_s.p99 > 1.0


def test_where_nobody_counts_tokens_the_source_says_so():
    measured, rows, _ = load(MockSettings(usage=False), duration_s=1.0)
    assert measured.row(LoadResult).token_source == {"chunks": len(rows)}


def test_the_words_of_the_mock_are_one_token_each():
    tokenizer = open_tokenizer(str(REFERENCE_MODEL))
    assert len(tokenizer.encode("".join(WORDS), add_special_tokens=False).ids) == len(WORDS)
    words = single_token_words(tokenizer)[:300]
    assert len(tokenizer.encode(" " + " ".join(words), add_special_tokens=False).ids) == len(words)


def test_calibration_gives_a_verdict_on_the_client():
    measured, _, _ = load(MockSettings(), duration_s=1.0, calibrate=True)
    health = measured.row(LoadResult).client_health
    assert health.calibration_ttft_p99_error_s is not None
    assert health.verdict in {"good", "doubtful", "client-bound"}
    assert health.reason
