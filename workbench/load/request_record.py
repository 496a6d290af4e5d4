"""One request of a load, as the client saw it."""

from dataclasses import dataclass
from typing import Literal

TokenSource = Literal["usage per chunk", "usage", "tokenizer", "chunks"]
TpotRule = Literal["tokens of each chunk", "all tokens but the first", "chunks alike", "share of the text"]
"""How the tokens after the first chunk were found, by which the time from the first to the last chunk is divided."""
CANCELLED = "cancelled"
"""Error of a request that was given up because the load ended or was stopped: it neither failed nor was answered."""
ALIKE = 0.6
"""Chunks count as alike where the first one's text is at least this share of the mean, and at most its inverse."""
CANCELLED = "cancelled"
"""Error of a request that was given up because the load ended or was stopped: it neither failed nor was answered."""
ALIKE = 0.6
"""Chunks count as alike where the first one's text is at least this share of the mean, and at most its inverse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request. All times are seconds since the start of the load, on the monotonic clock."""

    index: int
    due_s: float
    """When the schedule wanted it sent."""
    input_tokens: int
    """Asked for; ``usage_input_tokens`` is what the server counted."""
    max_output_tokens: int
    sent_s: float | None = None
    """When its bytes were handed to the socket, the first time where it was sent again."""
    connect_s: float = 0.0
    """Time spent on opening a connection before it was sent; 0 for a kept one."""
    first_event_s: float | None = None
    """First event of any kind, a role chunk too."""
    chunk_s: tuple[float, ...] = ()
    """Arrival of each event with text, reasoning or a tool call that is not empty."""
    chunk_tokens: tuple[int, ...] | None = None
    """Tokens in each of these, where the server or a tokenizer tells."""
    end_s: float | None = None
    """Last token of the answer, or the end of the attempt when it failed."""
    tail_s: float = 0.0
    """From the last token to the end of the response: usage, ``[DONE]``, the close."""
    output_tokens: int = 0
    token_source: TokenSource = "chunks"
    usage_input_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens that the server found in its prefix cache, where it says so."""
    first_text_fraction: float | None = None
    """Characters of the first chunk over those of all."""
    n_resent: int = 0
    """Times that it was sent again because the server had closed the connection just then."""
    is_streamed: bool = True
    """Whether its tokens were seen to arrive; if not, only the end of its answer is known."""
    is_repeated: bool = False
    """Whether its prompt had been sent before."""
    is_valid: bool | None = None
    """Whether the answer is a valid call or keeps to the format; None: none was asked for."""
    error: str | None = None

    @property
    def first_content_s(self) -> float | None:
        """Arrival of the first token."""
        return self.chunk_s[0] if self.chunk_s else None

    @property
    def ok(self) -> bool:
        """Whether a whole answer came."""
        return self.error is None and (bool(self.chunk_s) or (not self.is_streamed and self.output_tokens > 0))

    @property
    def is_cancelled(self) -> bool:
        """Whether it was given up because the load ended or was stopped."""
        return self.error == CANCELLED

    @property
    def tokens_after_first(self) -> tuple[float, TpotRule] | None:
        """Return the tokens that came after the first chunk, and how they were found; None for fewer than two chunks.

        Where only the number of all tokens is known: all but one if there is a chunk for each, or if the first chunk's text is that of
        one token and the later ones are larger; chunks are alike if the first one's text is about the mean; else the first one has its share of the text.
        """
        n_chunks, total = len(self.chunk_s), self.output_tokens
        if not self.ok or n_chunks < 2 or not self.is_streamed:
            return None
        if self.chunk_tokens is not None:
            return sum(self.chunk_tokens[1:]), "tokens of each chunk"
        if total <= n_chunks:  # more chunks than tokens: the server counts otherwise, and chunks are what is known
            return n_chunks - 1, "all tokens but the first"
        share = self.first_text_fraction
        if share is None or ALIKE <= share * n_chunks <= 1 / ALIKE:
            return round(total * (n_chunks - 1) / n_chunks), "chunks alike"
        first = total * share
        return (total - 1, "all tokens but the first") if first < 1.5 else (total - round(first), "share of the text")

    @property
    def tpot_s(self) -> float | None:
        """Time per output token after the first chunk: last minus first over the tokens that came in between."""
        found = self.tokens_after_first
        return (self.chunk_s[-1] - self.chunk_s[0]) / found[0] if found and found[0] > 0 else None
