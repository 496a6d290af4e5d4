"""Slots of adapters take their bytes of the cache, and a tenant pays a share of the device."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.errors import DoesNotFit, InvalidSpec
from workbench.questions.tuning.adapter_memory.findings import adapter_memory, verdict
from workbench.questions.tuning.adapter_memory.spec import AdapterMemorySpec


@given(st.integers(1, 64), st.integers(1, 100))
def test_slots_take_of_the_cache_and_a_tenant_pays_a_share(slots, tenants):
    answer = adapter_memory(
        AdapterMemorySpec(
            model="meta-llama/Meta-Llama-3.1-8B",
            device="h100-sxm",
            slots=slots,
            tenants=tenants,
            ranks=(8, 64),
            usd_per_hour=2.0,
        )
    )
    assert answer.cache_tokens >= answer.ranks[0].cache_tokens >= answer.ranks[1].cache_tokens
    assert answer.tenant_usd_per_hour == pytest.approx(2.0 / tenants)
    lost = answer.cache_tokens - answer.ranks[1].cache_tokens
    assert lost * 131_072 == pytest.approx(answer.ranks[1].slots_bytes, abs=300 * 131_072)  # pages, and 128 KiB a token
    assert verdict(answer).answer == ("yes" if answer.ranks[0].cache_tokens else "no")


def test_a_model_that_leaves_no_cache_is_refused():
    with pytest.raises(DoesNotFit, match="leaves no room"):
        adapter_memory(AdapterMemorySpec(model="meta-llama/Meta-Llama-3.1-70B", device="h100-sxm"))


def test_a_rank_that_vllm_does_not_take_is_refused():
    with pytest.raises(InvalidSpec, match="Unknown ranks: 7"):
        AdapterMemorySpec(model="meta-llama/Meta-Llama-3.1-8B", device="h100-sxm", ranks=(7,))
