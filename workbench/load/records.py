"""From the rows of the sending process to ``RequestRecord``: who counted the tokens, and how many there are."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from workbench.core.load import RequestRecord, TokenSource


def records(
    rows: Sequence[Mapping[str, Any]], input_tokens: Sequence[int], tokenizer: Tokenizer | None
) -> list[RequestRecord]:
    """One record a row. Later turns of a conversation have no entry in ``input_tokens`` and repeat the last one."""
    return [_record(row, input_tokens[min(i, len(input_tokens) - 1)], tokenizer) for i, row in enumerate(rows)]


def _record(row: Mapping[str, Any], input_tokens: int, tokenizer: Tokenizer | None) -> RequestRecord:
    per_chunk, total, source = _tokens(row, tokenizer)
    usage = row["usage"] or {}
    return RequestRecord(
        index=row["index"],
        due_s=row["due_s"],
        input_tokens=input_tokens,
        max_output_tokens=row["max_output_tokens"] or 0,
        sent_s=row["sent_s"],
        connect_s=row["connect_s"],
        first_event_s=row["first_event_s"],
        chunk_s=tuple(row["chunk_s"]),
        chunk_tokens=per_chunk,
        end_s=row["end_s"],
        output_tokens=total,
        token_source=source,
        usage_input_tokens=usage.get("prompt_tokens"),
        error=row["error"],
    )


def _tokens(row: Mapping[str, Any], tokenizer: Tokenizer | None) -> tuple[tuple[int, ...] | None, int, TokenSource]:
    """Tokens of each chunk where they are known, all tokens, and where the numbers come from."""
    n_chunks, cumulative = len(row["chunk_s"]), row["chunk_usage"]
    total = (row["usage"] or {}).get("completion_tokens")
    if n_chunks and len(cumulative) == n_chunks and all(a <= b for a, b in itertools.pairwise(cumulative)):
        first, steps = cumulative[0], itertools.pairwise(cumulative)
        per_chunk = (first, *(b - a for a, b in steps))
        return per_chunk, total or cumulative[-1], "usage per chunk"
    if tokenizer is not None and n_chunks:
        counted = _lengths_in_context(row["texts"], tokenizer)
        return (apportioned(counted, total), total, "usage") if total else (counted, sum(counted), "tokenizer")
    if total:
        return None, total, "usage"
    return None, n_chunks, "chunks"


def apportioned(counted: Sequence[int], total: int) -> tuple[int, ...]:
    """Counts in the same proportions that add up to what the server says: text can be encoded in several ways."""
    found = sum(counted)
    if found in {0, total}:
        return tuple(counted)
    ends = [round(total * end / found) for end in itertools.accumulate(counted)]
    return tuple(b - a for a, b in itertools.pairwise((0, *ends)))


def _lengths_in_context(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[int, ...]:
    """Tokens that begin in each chunk of one answer, encoded as a whole."""
    encoded = tokenizer.encode("".join(texts), add_special_tokens=False)
    ends, position = [], 0
    for text in texts:
        position += len(text)
        ends.append(position)
    counts, chunk = [0] * len(texts), 0
    for begin, _ in encoded.offsets:
        while chunk < len(ends) - 1 and begin >= ends[chunk]:
            chunk += 1
        counts[chunk] += 1
    return tuple(counts)
