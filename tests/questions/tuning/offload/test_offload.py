"""Reuse of a trace is that of an exact LRU, and the answer follows the bandwidth or is refused without one."""

from collections import OrderedDict

import pytest

from workbench.catalog.paths import located
from workbench.core.errors import InvalidSpec, NotAvailable
from workbench.core.traces import read_trace
from workbench.questions.tuning.offload import findings
from workbench.questions.tuning.offload.findings import offload_answer, verdict
from workbench.questions.tuning.offload.spec import SAMPLE, OffloadSpec
from workbench.simulate.reuse import reuse


def lru_hits(arrivals, n_blocks):
    """Blocks of 16 tokens in the order of their last use; the end of a prompt is forgotten before its beginning."""
    known, hits = OrderedDict(), 0
    for number, a in enumerate(arrivals):
        per_id = a.block_tokens // 16
        keys = [(i, j) for i in a.hash_ids for j in range(per_id)][: a.input_tokens // 16]
        rest = -(-a.input_tokens // 16) - len(keys)
        n = 0
        while n < min(len(keys), (a.input_tokens - 1) // 16) and keys[n] in known:
            n += 1
        hits += 16 * n
        own = [*keys, *(("rest", number, j) for j in range(rest + -(-a.output_tokens // 16)))]
        for key in [*own[len(keys) :], *reversed(keys)]:
            known[key] = True
            known.move_to_end(key)
        while len(known) > n_blocks:
            known.popitem(last=False)
    return hits


@pytest.mark.parametrize("cache_tokens", [20_000, 60_000, 120_000, 10**7])
def test_reuse_of_mooncakes_trace_is_that_of_an_exact_lru(cache_tokens):
    """Vector of a separate implementation: blocks in one ordered list."""
    arrivals = read_trace(located_path()).arrivals
    found = reuse(arrivals, cache_tokens=cache_tokens)
    assert found.n_too_long == 0
    assert found.hit_tokens == lru_hits(arrivals, cache_tokens // 16)


def located_path():
    from pathlib import Path

    return Path(located(SAMPLE))


def answer(**asked):
    start = {"model": "meta-llama/Meta-Llama-3.1-8B", "device": "h200-sxm", "cache_gib": 16.0, "host_bytes_per_s": 50e9}
    return offload_answer(OffloadSpec(**start | asked))


def test_more_bandwidth_never_saves_less():
    answers = [answer(host_bytes_per_s=b) for b in (1e9, 4e9, 16e9, 64e9, 256e9)]
    saved = [a.saved_s.value for a in answers]
    assert saved == sorted(saved)
    assert [a.saved_devices.value for a in answers] == sorted(a.saved_devices.value for a in answers)
    even = answers[0].break_even_bytes_per_s
    assert even is not None
    assert [a.saved_s.value > 0 for a in answers] == [a.bandwidth_bytes_per_s > even.value for a in answers]


def test_a_larger_cache_never_has_less():
    hits = [p.hit_fraction for p in answer().points]
    assert hits == sorted(hits)
    assert answer(host_memory_gib=1.0).loaded_tokens <= answer(host_memory_gib=500.0).loaded_tokens


def test_without_a_bandwidth_and_a_gpu_the_answer_is_refused(monkeypatch):
    def refused():
        raise NotAvailable("There is no GPU.", remedy="Give --host-bandwidth.")

    monkeypatch.setattr(findings, "measured_bandwidth", refused)
    with pytest.raises(NotAvailable, match="--host-bandwidth"):
        answer(host_bytes_per_s=None)


def test_a_trace_without_hash_ids_is_refused(tmp_path):
    plain = tmp_path / "azure.csv"
    plain.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00,374,44\n2024-05-10 00:00:01,100,4\n")
    with pytest.raises(InvalidSpec, match="no hash ids"):
        answer(trace=str(plain))


def test_the_verdict_names_the_threshold():
    assert "pays" in verdict(answer()).headline
    assert "break-even" in verdict(answer()).evidence
    assert "does not pay" in verdict(answer(cache_gib=400.0)).headline
