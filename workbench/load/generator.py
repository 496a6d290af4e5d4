"""Drives a load: each request goes out when it is due, and every event that comes back is stamped."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import orjson

from workbench.load.connection import Connection, Pool, Target

SPIN_S = 0.0012  # timers of the event loop are a millisecond coarse: the rest is waited out awake
LAG_INTERVAL_S = 0.02
PROGRESS_INTERVAL_S = 0.25


@dataclass(slots=True)
class Flight:
    """One request on its way: what ``RequestRecord`` needs, in nanoseconds of the monotonic clock."""

    index: int
    due_ns: int
    body: dict[str, Any]
    driver: "Driver"
    later: list[str] = field(default_factory=list)
    sent_ns: int = 0
    connect_ns: int = 0
    queued_ns: int = 0
    first_event_ns: int = 0
    chunk_ns: list[int] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    usage: Mapping[str, Any] | None = None
    end_ns: int = 0
    error: str | None = None
    connection: Connection | None = None
    retried: bool = False
    finished: bool = False

    def event(self, at_ns: int, data: bytes) -> None:
        """Note an event and what it holds."""
        if data == b"[DONE]":
            return
        if not self.first_event_ns:
            self.first_event_ns = at_ns
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            self.error = self.error or "the server sent an event that is not JSON"
            return
        if not isinstance(message, dict):
            return
        usage = message.get("usage")
        if message.get("error") or message.get("object") == "error":
            self.error = _error_text(message)
        text = _content(message)
        if text:
            self.chunk_ns.append(at_ns)
            self.texts.append(text)
            if usage:
                self.chunk_tokens.append(usage.get("completion_tokens") or 0)
        if usage:
            self.usage = usage

    def ended(self, at_ns: int, status: int, failure: str | None) -> None:
        """Close the record, and try once more when a kept connection turned out to be closed."""
        if failure and not status and not self.first_event_ns and not self.retried and self.connect_ns == 0:
            self.retried = True
            self.driver.send_anew(self)
            return
        self.end_ns = at_ns
        if status and status != 200:
            self.error = f"HTTP {status}: {self.error or 'no message'}"
        elif failure:
            self.error = failure
        elif not self.chunk_ns and self.error is None:
            self.error = "the answer held no token"
        self.driver.finished(self)


def _content(message: Mapping[str, Any]) -> str:
    """Text, reasoning or tool call of an event, "" if it holds none."""
    choices = message.get("choices")
    if not choices:
        return ""
    choice = choices[0]
    text = choice.get("text")
    if text is not None:
        return str(text)
    delta = choice.get("delta") or choice.get("message") or {}
    found = delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
    if found:
        return str(found)
    return orjson.dumps(delta["tool_calls"]).decode() if delta.get("tool_calls") else ""


def _error_text(message: Mapping[str, Any]) -> str:
    inner = message.get("error")
    if isinstance(inner, dict):
        return str(inner.get("message") or inner)
    return str(inner or message.get("message") or message)


class Driver:
    """State of one load in the event loop."""

    def __init__(self, job: Mapping[str, Any], on_progress: Callable[[Mapping[str, Any]], None]) -> None:
        self.job, self.on_progress = job, on_progress
        self.pool = Pool(Target.of(job["base_url"]))
        self.flights: list[Flight] = []
        self.in_flight: dict[int, Flight] = {}
        self.waiting: deque[Flight] = deque()
        self.n_finished = self.n_failed = 0
        self.lag_ns: list[int] = []
        self.idle = asyncio.Event()
        self.start_ns = 0
        self.stopped = False
        self._timeout_ns = int(job["timeout_s"] * 1e9)
        self._cap = job["concurrency"]
        self._fresh: list[Flight] = []

    async def run(self) -> dict[str, Any]:
        """Send everything and wait for the last answer."""
        requests = self.job["requests"]
        monitor = asyncio.create_task(self._watch())
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu = time.process_time()
        self.start_ns = perf_counter_ns() + 5_000_000
        try:
            if self.job["closed"]:
                await self._closed(requests)
            else:
                await self._open(requests)
            while self.in_flight or self.waiting:
                self.idle.clear()
                await self.idle.wait()
        finally:
            gc.enable()
            gc.unfreeze()
            monitor.cancel()
            self.pool.close()
        wall = (perf_counter_ns() - self.start_ns) / 1e9
        return {
            "flights": [self._row(f) for f in self.flights],
            "lag_s": [n / 1e9 for n in self.lag_ns],
            "cpu_fraction": (time.process_time() - cpu) / max(wall, 1e-9),
            "started_monotonic_s": self.start_ns / 1e9,
        }

    async def _open(self, requests: list[dict[str, Any]]) -> None:
        for request in requests:
            due = self.start_ns + int(request["due_s"] * 1e9)
            while (left := (due - perf_counter_ns()) / 1e9) > 0:  # noqa: ASYNC110 - waits for a time, not for an event
                await asyncio.sleep(left - SPIN_S if left > 2 * SPIN_S else 0)
            if self.stopped:
                return
            self._submit(self._flight(request, due))

    async def _closed(self, requests: list[dict[str, Any]]) -> None:
        self._next = iter(requests)
        self._stop_ns = self.start_ns + int(self.job["duration_s"] * 1e9)
        await asyncio.sleep(max(0.0, (self.start_ns - perf_counter_ns()) / 1e9))
        for request, _ in zip(self._next, range(self._cap), strict=False):
            self._submit(self._flight(request, perf_counter_ns()))

    def _flight(self, request: Mapping[str, Any], due_ns: int) -> Flight:
        body = dict(request["body"])
        later = body.pop("_later", [])
        flight = Flight(index=len(self.flights), due_ns=due_ns, body=body, driver=self, later=later)
        self.flights.append(flight)
        return flight

    def _submit(self, flight: Flight) -> None:
        if self._cap is not None and len(self.in_flight) >= self._cap:
            flight.queued_ns = perf_counter_ns()
            self.waiting.append(flight)
            return
        if flight.queued_ns:
            flight.queued_ns = perf_counter_ns() - flight.queued_ns
        self.in_flight[flight.index] = flight
        connection = self.pool.take()
        if connection is None:
            self.send_anew(flight)
        else:
            self._send(flight, connection)

    def send_anew(self, flight: Flight) -> None:
        """Send over a connection that is opened for it."""
        flight.connection = None
        task = asyncio.get_running_loop().create_task(self._connect(flight))
        task.add_done_callback(lambda t: t.cancelled() or t.exception())

    async def _connect(self, flight: Flight) -> None:
        started = perf_counter_ns()
        try:
            connection = await self.pool.open()
        except OSError as error:
            flight.connect_ns = max(1, perf_counter_ns() - started)
            flight.ended(perf_counter_ns(), 0, f"no connection: {error.strerror or error}")
            return
        flight.connect_ns = perf_counter_ns() - started
        if flight.finished:
            self.pool._lost(connection)  # noqa: SLF001 - it timed out while the connection was made
            connection.abort("")
            return
        self._send(flight, connection)

    def _send(self, flight: Flight, connection: Connection) -> None:
        flight.connection = connection
        headers = {**self.job["headers"], "X-Request-Id": f"{self.job['run_id']}-{flight.index}"}
        request = self.pool.target.request("POST", self.job["path"], orjson.dumps(flight.body), headers)
        flight.sent_ns = connection.send(request, flight)

    def finished(self, flight: Flight) -> None:
        """Count a request and let the next one go."""
        if flight.finished:
            return
        flight.finished = True
        self.in_flight.pop(flight.index, None)
        self.n_finished += 1
        self.n_failed += flight.error is not None
        self._fresh.append(flight)
        now = perf_counter_ns()
        if flight.later and flight.error is None and not self.stopped:
            self._submit(self._next_turn(flight, now))
        elif self.job["closed"] and now < self._stop_ns and not self.stopped:
            request = next(self._next, None)
            if request is not None:
                self._submit(self._flight(request, now))
        if self.waiting and (self._cap is None or len(self.in_flight) < self._cap):
            self._submit(self.waiting.popleft())
        self.idle.set()

    def _next_turn(self, flight: Flight, now: int) -> Flight:
        text, *later = flight.later
        said = {"role": "assistant", "content": "".join(flight.texts)}
        messages = [*flight.body["messages"], said, {"role": "user", "content": text}]
        return self._flight({"body": {**flight.body, "messages": messages, "_later": later}}, now)

    def stop(self) -> None:
        """Send nothing more and give up what is under way."""
        self.stopped = True
        self.waiting.clear()
        for flight in list(self.in_flight.values()):
            self._give_up(flight, "cancelled")

    def _give_up(self, flight: Flight, why: str) -> None:
        flight.retried = True
        if flight.connection is not None:
            flight.connection.abort(why)
        else:
            flight.ended(perf_counter_ns(), 0, why)

    async def _watch(self) -> None:
        due, told = time.perf_counter() + LAG_INTERVAL_S, 0.0
        while True:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            self.lag_ns.append(int((now - due) * 1e9))
            due = now + LAG_INTERVAL_S
            clock = perf_counter_ns()
            for flight in [f for f in self.in_flight.values() if clock - f.due_ns > self._timeout_ns]:
                self._give_up(flight, f"timeout after {self.job['timeout_s']:g} s")
            while self.waiting and clock - self.waiting[0].due_ns > self._timeout_ns:
                late = self.waiting.popleft()
                late.retried = True
                late.ended(clock, 0, f"timeout after {self.job['timeout_s']:g} s")
            if now - told > PROGRESS_INTERVAL_S:
                told = now
                self._tell()

    def _tell(self) -> None:
        fresh, self._fresh = self._fresh, []
        self.on_progress(
            {
                "elapsed_s": (perf_counter_ns() - self.start_ns) / 1e9,
                "n_sent": len(self.flights) - len(self.waiting),
                "n_in_flight": len(self.in_flight),
                "n_waiting": len(self.waiting),
                "n_finished": self.n_finished,
                "n_failed": self.n_failed,
                "finished": [self._brief(f) for f in fresh[-50:]],
            }
        )

    def _brief(self, f: Flight) -> dict[str, Any]:
        first = f.chunk_ns[0] if f.chunk_ns else None
        return {
            "index": f.index,
            "due_s": (f.due_ns - self.start_ns) / 1e9,
            "ttft_s": (first - f.sent_ns) / 1e9 if first else None,
            "e2e_s": (f.end_ns - f.sent_ns) / 1e9 if f.sent_ns else None,
            "n_chunks": len(f.chunk_ns),
            "error": f.error,
        }

    def _row(self, f: Flight) -> dict[str, Any]:
        def at(ns: int) -> float | None:
            return (ns - self.start_ns) / 1e9 if ns else None

        return {
            "index": f.index,
            "due_s": at(f.due_ns),
            "sent_s": at(f.sent_ns),
            "connect_s": f.connect_ns / 1e9,
            "queued_s": f.queued_ns / 1e9,
            "first_event_s": at(f.first_event_ns),
            "chunk_s": [at(n) for n in f.chunk_ns],
            "chunk_usage": f.chunk_tokens,
            "texts": f.texts if self.job["keep_texts"] else [],
            "max_output_tokens": f.body.get("max_tokens"),
            "usage": dict(f.usage) if f.usage else None,
            "end_s": at(f.end_ns),
            "error": f.error,
        }
