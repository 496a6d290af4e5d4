"""The prefix cache of a plan by its size: of a reader's trace, and of drawn sessions without one."""

import json

import pytest

from workbench.core.errors import InvalidSpec
from workbench.questions.parallelism.figures import caches_by_size
from workbench.questions.parallelism.findings import plan_load
from workbench.questions.parallelism.findings.prefix_cache import cache_sizes
from workbench.questions.parallelism.spec import PlanSpec

ASKED = {"model": "meta-llama/Meta-Llama-3.1-8B", "devices": ("h200-sxm",), "precisions": ("stored",)}


def test_a_trace_is_replayed_with_each_size_and_routing(tmp_path):
    file = tmp_path / "trace.jsonl"
    turns = [list(range(40 * (i % 6), 40 * (i % 6) + 2 + i // 6)) for i in range(48)]  # six conversations that grow
    rows = [
        {"timestamp": 400 * i, "input_length": 512 * len(ids), "output_length": 20, "hash_ids": ids}
        for i, ids in enumerate(turns)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = cache_sizes(plan_load(PlanSpec(**ASKED, trace=str(file))))
    assert "trace.jsonl" in sizes.about
    for routing in ("round robin", "least loaded", "cache aware"):
        mine = [p for p in sizes.points if p.routing == routing]
        assert [p.cache_tokens for p in mine] == sorted({p.cache_tokens for p in mine})
        assert 0 < mine[0].hit_fraction <= mine[-1].hit_fraction < 1
        assert mine[-1].saved_devices > 0
    figure = caches_by_size(sizes)
    assert len(figure.data) == 9
    assert [figure.layout[a].title.text for a in ("yaxis", "yaxis2", "yaxis3")] == [
        "hit share, %",
        "TTFT p50, s",
        "GPUs saved",
    ]
    plain = tmp_path / "plain.csv"
    plain.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1,100,10\n2,100,10\n")
    with pytest.raises(InvalidSpec, match="no hash ids"):
        cache_sizes(plan_load(PlanSpec(**ASKED, trace=str(plain))))


def test_without_a_trace_sessions_are_drawn():
    sizes = cache_sizes(plan_load(PlanSpec(**ASKED)))
    assert "drawn sessions" in sizes.about
    most = {p.routing: p.hit_fraction for p in sizes.points}
    assert most["cache aware"] > most["round robin"]
