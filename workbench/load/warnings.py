"""What keeps the figures of a load from meaning what they seem to, as warnings that a comparison counts."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from workbench.load.request_record import RequestRecord
from workbench.load.rows import ClientHealth, LoadWarning, PrefixHits
from workbench.load.spec import LoadSpec

SHORT = 0.9
"""An answer with less than this share of the tokens that were asked for is short."""
MOST_SHORT = 0.05
MISCOUNTED = 0.1
"""Usage may lie below the number of chunks by this share, or by one: an end can be a chunk of its own."""
FEW_CHUNKS = 8
BURSTS = 0.25
"""An answer whose chunks come in fewer bursts than this share of them was held back on its way."""
MOST_BUFFERED = 0.1
CLOCK_S = 0.5
CACHED = 0.01


def warnings(
    spec: LoadSpec,
    records: Sequence[RequestRecord],
    *,
    health: ClientHealth | None,
    prefix_cache: PrefixHits,
    n_left_out: int,
    clock_step_s: float,
) -> tuple[LoadWarning, ...]:
    """Return the warnings of a load, in the order of ``WarningKind``."""
    ok = [r for r in records if r.ok]
    found = [
        *(() if spec.endpoint == "embeddings" else _of_answers(spec, ok)),
        *_of_sending(spec, records, prefix_cache),
    ]
    if n_left_out:
        text = (
            f"{n_left_out} requests of the trace come after {spec.duration_s:g} s and were not sent: raise --duration."
        )
        found.append(LoadWarning(kind="trace-cut", text=text, n=n_left_out))
    if abs(clock_step_s) > CLOCK_S:
        text = (
            f"The wall clock moved {clock_step_s:+.1f} s against the monotonic one: it was set, or the machine slept. Latencies do not "
            "use it; times of the server's log do."
        )
        found.append(LoadWarning(kind="clock", text=text, n=1))
    if health is not None and health.verdict == "client-bound":
        found.append(LoadWarning(kind="client-bound", text=_sentence(health.reason), n=1))
    return tuple(found)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _of_answers(spec: LoadSpec, ok: Sequence[RequestRecord]) -> Iterator[LoadWarning]:
    total = len(ok)
    short = [
        r for r in ok if r.max_output_tokens and max(r.output_tokens, len(r.chunk_s)) < SHORT * r.max_output_tokens
    ]
    if not spec.is_structured and len(short) > MOST_SHORT * total:
        got = float(np.mean([r.output_tokens for r in short]))
        asked = float(np.mean([r.max_output_tokens for r in short]))
        text = (
            f"{len(short)} of {total} answers are shorter than asked: {got:.3g} of {asked:.3g} tokens on average. "
            "Requests/s and goodput cannot be compared with those of full answers; tokens/s can."
        )
        yield LoadWarning(kind="short-answers", text=text, n=len(short))
    whole = [r for r in ok if not r.is_streamed]
    if whole:
        text = f"{len(whole)} of {total} answers came in one piece, not as a stream: their TTFT is the end-to-end latency, they have no TPOT."
        yield LoadWarning(kind="not-streamed", text=text, n=len(whole))
    buffered = [r for r in ok if r.is_streamed and is_buffered(r)]
    if len(buffered) > MOST_BUFFERED * total:
        text = (
            f"{len(buffered)} of {total} streams came in a few bursts: something on the way buffers them, "
            "and TTFT, TPOT and ITL are those of the buffer."
        )
        yield LoadWarning(kind="buffered", text=text, n=len(buffered))
    odd = [r for r in ok if is_miscounted(r)]
    if odd:
        text = (
            f"{len(odd)} of {total} answers have another number of tokens in their usage than arrived "
            f"(such as {odd[0].output_tokens} in the usage, {len(odd[0].chunk_s)} chunks): tokens/s and TPOT rest on the usage or on the chunks."
        )
        yield LoadWarning(kind="token-count-mismatch", text=text, n=len(odd))


def is_buffered(r: RequestRecord) -> bool:
    """Return whether the chunks of an answer came in few bursts.

    Equal times are one read of the socket; a gap counts as one between bursts if it is no small part of the mean gap.
    """
    n = len(r.chunk_s)
    if n < FEW_CHUNKS:
        return False
    gaps = np.diff(r.chunk_s)
    n_reads = 1 + int((gaps > 0).sum())
    n_bursts = 1 + int((gaps > 0.1 * gaps.mean()).sum())
    return min(n_reads, n_bursts) <= BURSTS * n


def is_miscounted(r: RequestRecord) -> bool:
    """Return whether the usage of an answer cannot be right, seen from its chunks."""
    n = len(r.chunk_s)
    return r.is_streamed and r.token_source == "usage" and r.output_tokens < max(n - 1, (1 - MISCOUNTED) * n)


def _of_sending(spec: LoadSpec, records: Sequence[RequestRecord], prefix_cache: PrefixHits) -> Iterator[LoadWarning]:
    n_resent = _count(records, lambda r: r.n_resent > 0)
    if n_resent:
        text = (
            f"{n_resent} requests were sent again because the server had closed a kept connection just then; "
            "their time counts from the first try."
        )
        yield LoadWarning(kind="resent", text=text, n=n_resent)
    share = prefix_cache.hit_fraction
    if share is not None and share > CACHED:
        n = _count(records, lambda r: bool(r.cached_tokens)) or _count(records, lambda r: r.ok)
        text = f"{share:.1%} of the prompt tokens came from the server's prefix cache: TTFT is shorter than without it."
        yield LoadWarning(kind="prefix-cache", text=text, n=max(1, n))
    n_repeated = _count(records, lambda r: r.is_repeated)
    if n_repeated or spec.shared_prefix_tokens or (spec.nonce is not None):
        parts = [f"{n_repeated} requests have the prompt or the images of an earlier one"] if n_repeated else []
        if spec.shared_prefix_tokens:
            parts.append(f"all prompts share their first {spec.shared_prefix_tokens} tokens")
        if spec.nonce is not None:
            parts.append(f"the prompts are those of every load with the nonce {spec.nonce}")
        text = f"{_sentence('; '.join(parts))} A server's prefix cache may answer them."
        yield LoadWarning(kind="reused-prompts", text=text, n=max(1, n_repeated))


def _count(records: Sequence[RequestRecord], holds: Callable[[RequestRecord], bool]) -> int:
    return sum(map(holds, records))
