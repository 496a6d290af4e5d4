"""From the requests of the sending process to ``RequestRecord``: who counted the tokens, and how many there are."""

import itertools
from bisect import bisect_right
from collections.abc import Sequence

from tokenizers import Tokenizer

from workbench.load.messages import SentRequest, Usage
from workbench.load.request_record import RequestRecord, TokenSource

MOST_LEFT = 0.9
"""Share of the tokens that must have been counted with the last chunk of text, besides one for the end."""


def records(requests: Sequence[SentRequest], tokenizer: Tokenizer | None) -> list[RequestRecord]:
    """Return one record a request."""
    return [_record(r, tokenizer) for r in requests]


def _record(r: SentRequest, tokenizer: Tokenizer | None) -> RequestRecord:
    usage = r.usage or Usage()
    per_chunk, total, source = _tokens(r, usage.completion_tokens, tokenizer)
    last = r.chunk_s[-1] if r.chunk_s and r.error is None else None
    return RequestRecord(
        index=r.index,
        due_s=r.due_s,
        sent_s=r.sent_s,
        connect_s=r.connect_s,
        first_event_s=r.first_event_s,
        end_s=r.end_s if last is None else last,
        tail_s=0.0 if last is None or r.end_s is None else max(0.0, r.end_s - last),
        error=r.error,
        input_tokens=r.input_tokens,
        max_output_tokens=r.max_output_tokens or 0,
        chunk_s=r.chunk_s,
        chunk_tokens=per_chunk,
        output_tokens=total,
        token_source=source,
        usage_input_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        first_text_fraction=r.first_text_fraction,
        n_resent=r.n_resent,
        is_streamed=r.is_streamed,
        is_repeated=r.is_repeated,
    )


def _tokens(
    r: SentRequest, total: int | None, tokenizer: Tokenizer | None
) -> tuple[tuple[int, ...] | None, int, TokenSource]:
    """Return the tokens of each chunk where they are known, all tokens, and where the numbers come from."""
    n_chunks, cumulative = len(r.chunk_s), r.chunk_usage
    if r.usage and not r.is_streamed and total is None and not any(cumulative):
        return None, 0, "usage"  # an embedding: its usage counts the prompt alone
    if n_chunks and len(cumulative) == n_chunks and _counts_along(cumulative, total):
        first, steps = cumulative[0], itertools.pairwise(cumulative)
        per_chunk = (first, *(b - a for a, b in steps))
        return per_chunk, total or cumulative[-1], "usage per chunk"
    if tokenizer is not None and n_chunks:
        counted = _lengths_in_context(r.texts, tokenizer)
        return (apportioned(counted, total), total, "usage") if total else (counted, sum(counted), "tokenizer")
    if total:
        return None, total, "usage"
    return None, n_chunks, "chunks"


def _counts_along(cumulative: Sequence[int], total: int | None) -> bool:
    """Return whether the usage of chunks counts the tokens so far: not zeros until the end, one for each chunk, or the total in all."""
    grows = all(a <= b for a, b in itertools.pairwise(cumulative)) and cumulative[-1] > 0
    is_constant = len(cumulative) > 1 and cumulative[0] == cumulative[-1]
    return grows and not is_constant and cumulative[-1] >= MOST_LEFT * (total or 0) - 1


def apportioned(counted: Sequence[int], total: int) -> tuple[int, ...]:
    """Return counts in the same proportions that add up to the server's total: text can be encoded in several ways."""
    found = sum(counted)
    if found in {0, total}:
        return tuple(counted)
    ends = [round(total * end / found) for end in itertools.accumulate(counted)]
    return tuple(b - a for a, b in itertools.pairwise((0, *ends)))


def _lengths_in_context(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the number of tokens that begin in each chunk of one answer, encoded as a whole."""
    encoded = tokenizer.encode("".join(texts), add_special_tokens=False)
    ends, counts = list(itertools.accumulate(map(len, texts))), [0] * len(texts)
    for begin, _ in encoded.offsets:
        counts[min(bisect_right(ends, begin), len(texts) - 1)] += 1
    return tuple(counts)
