"""Tokens are counted by whoever knows best, and the counts of an answer's chunks add up to the server's total."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.load_bodies import first_bodies

from workbench.catalog.paths import REFERENCE_MODEL
from workbench.core.errors import InvalidSpec
from workbench.load.messages import SentRequest, Usage
from workbench.load.prompts import open_tokenizer
from workbench.load.records import apportioned, records
from workbench.load.spec import LoadSpec


@given(st.lists(st.integers(0, 9), min_size=1, max_size=50), st.integers(1, 500))
def test_apportioned_counts_add_up_and_keep_their_proportions(counted, total):
    out = apportioned(counted, total)
    assert all(n >= 0 for n in out)
    if sum(counted):
        assert sum(out) == total
        assert all(abs(n - c * total / sum(counted)) <= 1 for n, c in zip(out, counted, strict=True))


def row_of(texts, usage):
    return SentRequest(
        index=0,
        due_s=0.0,
        max_output_tokens=len(texts),
        sent_s=0.0,
        first_event_s=0.1,
        chunk_s=tuple(0.1 + 0.01 * i for i in range(len(texts))),
        texts=tuple(texts),
        usage=usage,
        end_s=0.1 + 0.01 * len(texts),
    )


def test_text_that_encodes_into_more_tokens_than_were_generated_does_not_shorten_the_time_per_token():
    texts = [" #100123", " #99321", " #4711", " #90210"] * 8  # one token each for the server, several when encoded
    tokenizer = open_tokenizer(str(REFERENCE_MODEL))
    assert len(tokenizer.encode("".join(texts)).ids) > 3 * len(texts)
    (record,) = records([row_of(texts, Usage(completion_tokens=len(texts)))], tokenizer)
    assert record.output_tokens == sum(record.chunk_tokens) == len(texts)
    assert record.tpot_s == pytest.approx(0.01, rel=0.15)


def test_token_ids_are_sent_in_exactly_the_asked_number():
    spec = LoadSpec(
        url="http://x", model="m", input_tokens=77, tokenizer=str(REFERENCE_MODEL), token_ids=True, duration_s=1
    )
    prompts = [body["prompt"] for body in first_bodies(spec)]
    assert all(len(p) == 77 and all(isinstance(i, int) for i in p) for p in prompts)
    assert len({tuple(p[:12]) for p in prompts}) == len(prompts)  # no shared prefix
    with pytest.raises(InvalidSpec, match="tokenizer"):
        LoadSpec(url="http://x", model="m", token_ids=True)
