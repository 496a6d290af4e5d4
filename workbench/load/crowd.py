"""Several clients with keys of their own who ask one server at the same time, each at its due times whatever the answers take."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that a client will send."""

    client: str
    due_s: float
    body: Mapping[str, object]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of it; seconds since the crowd began."""

    client: str
    due_s: float
    first_s: float | None = None
    end_s: float | None = None
    status: int = 0
    """Of HTTP; 0 when none came."""
    error: str | None = None
    n_tokens: int = 0
    tpot_s: float | None = None
    retry_after_s: float | None = None
    is_degraded: bool = False
    version: str | None = None
    """Of the model that answered, where the server says so."""
    text: str | None = None
    """The answer, where texts are kept."""

    @property
    def ttft_s(self) -> float | None:
        """From when it was due."""
        return None if self.first_s is None else self.first_s - self.due_s


def ask_all(
    url: str,
    calls: Sequence[Call],
    *,
    keys: Mapping[str, str],
    patience_s: float,
    path: str = "/v1/completions",
    keeps_text: bool = False,
) -> list[Outcome]:
    """Send each call when it is due, and return the outcomes in the order of the calls.

    Args:
        url: Of the server, without a path.
        calls: In any order.
        keys: API key by client; a client without one sends none.
        patience_s: After which a client gives up, and closes its connection.
        path: Of the question.
        keeps_text: Whether completions are kept, and their tokens counted as the server counts them.
    """
    with ThreadPoolExecutor(1) as thread:  # wherever this is called from, an event loop may run already
        return thread.submit(asyncio.run, _all(url + path, calls, keys, patience_s, keeps_text)).result()


async def _all(
    url: str, calls: Sequence[Call], keys: Mapping[str, str], patience_s: float, keeps_text: bool
) -> list[Outcome]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5.0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        start = time.monotonic()
        asked = (_one(session, url, c, keys.get(c.client), start, patience_s, keeps_text) for c in calls)
        return await asyncio.gather(*asked)


async def _one(
    session: aiohttp.ClientSession,
    url: str,
    call: Call,
    key: str | None,
    start: float,
    patience_s: float,
    keeps_text: bool,
) -> Outcome:
    seen = Outcome(client=call.client, due_s=call.due_s, text="" if keeps_text else None)
    await asyncio.sleep(max(0.0, start + call.due_s - time.monotonic()))
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    try:
        async with (
            asyncio.timeout(max(0.01, start + call.due_s + patience_s - time.monotonic())),
            session.post(url, data=json.dumps(call.body), headers=headers) as response,
        ):
            await _read(response, seen, start)
    except TimeoutError:
        seen.error = "gave up"
    except (aiohttp.ClientError, OSError) as error:
        seen.error = type(error).__name__
    seen.end_s = time.monotonic() - start
    return seen


async def _read(response: aiohttp.ClientResponse, seen: Outcome, start: float) -> None:
    seen.status, seen.version = response.status, response.headers.get("x-model-version")
    if response.status != 200:
        seen.error = f"HTTP {response.status}"
        with contextlib.suppress(ValueError):
            seen.retry_after_s = float(response.headers.get("retry-after", "nan"))
        await response.read()
        return
    seen.is_degraded = "x-degraded" in response.headers
    last, is_complete = start, False
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            is_complete = True
        elif b'"error"' in line[:40]:
            seen.error = "failed in its middle"
        else:
            last = time.monotonic()
            if seen.first_s is None:
                seen.first_s = last - start
            if seen.text is None:
                seen.n_tokens += b'"text"' in line or b'"content"' in line
            else:
                _take(json.loads(line[6:]), seen)
    if not is_complete and seen.error is None:
        seen.error = "cut off"
    if seen.first_s is not None and seen.n_tokens > 1:
        seen.tpot_s = (last - start - seen.first_s) / (seen.n_tokens - 1)


def _take(event: Mapping[str, Any], seen: Outcome) -> None:
    """Add the text of an event of a completion, and the tokens that the server has counted so far."""
    seen.text = (seen.text or "") + "".join(choice.get("text") or "" for choice in event.get("choices") or ())
    seen.n_tokens = (event.get("usage") or {}).get("completion_tokens", seen.n_tokens)
