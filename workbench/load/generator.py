"""Drives a load: each request goes out when it is due, and every event that comes back is stamped."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from time import perf_counter_ns

from workbench.load.address import Address
from workbench.load.bodies import BodyMaker
from workbench.load.connection import Connection, Pool, request_head, tls_context
from workbench.load.credentials import redacted
from workbench.load.flight import Flight
from workbench.load.messages import Body, FinishedRequest, LoadProgress, SendingJob, SentLoad, SentRequest
from workbench.load.request_record import CANCELLED

SPIN_S = 0.0012  # timers of the event loop are a millisecond coarse: the rest is waited out awake
LAG_INTERVAL_S = 0.02
PROGRESS_INTERVAL_S = 0.25
TAIL_NS = 5_000_000_000  # a response that is not closed this long after its answer is whole is closed here
PAUSE_S = 0.01


class Driver:
    """State of one load in the event loop."""

    def __init__(self, job: SendingJob, on_progress: Callable[[LoadProgress], None]) -> None:
        self.job, self.on_progress = job, on_progress
        address = Address.of(job.base_url)
        self.pool = Pool(address, tls_context(checks=job.checks_tls, ca=job.ca) if address.tls else None)
        self.bodies = BodyMaker(job.recipe, job.schedule)
        self.keeps_texts = job.keep_texts or job.recipe.turns > 1
        self.flights: list[Flight] = []
        self.in_flight: dict[int, Flight] = {}
        self.waiting: deque[Flight] = deque()
        self.n_finished = self.n_failed = self.n_conversations = 0
        self.lag_ns: list[int] = []
        self.idle = asyncio.Event()
        self.start_ns = self.stopped_ns = 0
        self._timeout_ns = int(job.timeout_s * 1e9)
        self._stop_ns = self._n_pausing = 0
        self._cap = job.concurrency
        self._fresh: list[Flight] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> SentLoad:
        """Send all requests, wait for the last answer, and return what was sent."""
        monitor = asyncio.create_task(self._watch())
        gc.collect()
        gc.freeze()
        gc.disable()
        cpu, clocks = time.process_time(), _clock_difference()
        self.start_ns = perf_counter_ns() + 5_000_000
        try:
            if self.job.closed:
                await self._closed()
            else:
                await self._open()
            while self.in_flight or self.waiting or self._n_pausing:
                self.idle.clear()
                await self.idle.wait()
        finally:
            gc.enable()
            gc.unfreeze()
            monitor.cancel()
            self.pool.close()
        wall = (perf_counter_ns() - self.start_ns) / 1e9
        return SentLoad(
            requests=tuple(self._sent(f) for f in self.flights),
            lag_s=tuple(n / 1e9 for n in self.lag_ns),
            cpu_fraction=(time.process_time() - cpu) / max(wall, 1e-9),
            started_monotonic_s=self.start_ns / 1e9,
            stopped_after_s=max(0, self.stopped_ns - self.start_ns) / 1e9 if self.stopped_ns else None,
            clock_step_s=_clock_difference() - clocks,
        )

    async def _open(self) -> None:
        for due_s in self.job.schedule.due_s or ():
            due = self.start_ns + int(due_s * 1e9)
            while (left := (due - perf_counter_ns()) / 1e9) > 0:
                if self.stopped_ns:
                    return
                await asyncio.sleep(min(left - SPIN_S, 0.5) if left > 2 * SPIN_S else 0)
            if self.stopped_ns:
                return
            self._submit(self._conversation(due))

    async def _closed(self) -> None:
        self._stop_ns = self.start_ns + int(self.job.duration_s * 1e9)
        await asyncio.sleep(max(0.0, (self.start_ns - perf_counter_ns()) / 1e9))
        for user in range(self._cap or 1):
            if user % 50 == 49:  # answers to the first users are stamped while the last ones begin
                await asyncio.sleep(0)
            if self.stopped_ns:
                return
            self._submit(self._conversation(perf_counter_ns()))

    def _conversation(self, due_ns: int) -> Flight:
        number, self.n_conversations = self.n_conversations, self.n_conversations + 1
        flight = self._flight(number, due_ns)
        flight.is_repeated = self.bodies.is_repeated(number)
        return flight

    def _flight(self, conversation: int, due_ns: int) -> Flight:
        n_in, n_out = self.bodies.lengths(conversation)
        flight = Flight(
            index=len(self.flights),
            due_ns=due_ns,
            driver=self,
            input_tokens=n_in,
            output_tokens=n_out,
            conversation=conversation,
        )
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
        self.send_on(flight)

    def send_on(self, flight: Flight) -> None:
        """Send over a connection that is open, or over a new one."""
        connection = self.pool.take()
        if connection is None:
            self.send_anew(flight)
        else:
            flight.on_kept = True
            self._send(flight, connection)

    def send_anew(self, flight: Flight) -> None:
        """Send over a connection that is opened for it."""
        flight.connection, flight.on_kept = None, False
        task = asyncio.get_running_loop().create_task(self._connect(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, flight: Flight) -> None:
        started = perf_counter_ns()
        try:
            connection = await self.pool.open()
        except OSError as error:
            flight.connect_ns = flight.connect_ns or max(1, perf_counter_ns() - started)
            flight.ended(perf_counter_ns(), None, f"no connection: {error.strerror or error}")
            return
        if not flight.sent_ns:
            flight.connect_ns = perf_counter_ns() - started
        if flight.finished:
            self.pool.forget(connection)  # it timed out while the connection was made
            connection.abort("")
            return
        self._send(flight, connection)

    def _send(self, flight: Flight, connection: Connection) -> None:
        flight.connection = connection
        if flight.messages is None:
            body = self.bodies.first(flight.conversation)
        else:
            body = self.bodies.later(flight.messages, flight.output_tokens)
        headers = {**self.job.headers, "X-Request-Id": f"{self.job.run_id}-{flight.index}"}
        target = flight.target or self.job.target
        head = request_head("POST", self.pool.address, target, headers, len(body))
        flight.written_ns = connection.send(head, body, flight)
        flight.sent_ns = flight.sent_ns or flight.written_ns

    def redacted(self, text: str) -> str:
        """Return a text of the server without keys and passwords that it may have sent back."""
        return redacted(text, self.job.secrets)

    def finished(self, flight: Flight) -> None:
        """Count a request and let the next one go."""
        if flight.finished:
            return
        flight.finished, flight.connection = True, None
        self.in_flight.pop(flight.index, None)
        self.n_finished += 1
        self.n_failed += flight.error is not None
        self._fresh.append(flight)
        now = perf_counter_ns()
        if not self.stopped_ns:
            if flight.turn + 1 < self.job.recipe.turns and flight.error is None:
                self._submit(self._next_turn(flight, now))
            elif self.job.closed and now < self._stop_ns:
                if flight.error is None:
                    self._submit(self._conversation(now))
                else:
                    self._pause()
        if not self.job.keep_texts:
            flight.texts = []
        flight.messages = None
        if self.waiting and (self._cap is None or len(self.in_flight) < self._cap):
            self._submit(self.waiting.popleft())
        self.idle.set()

    def _pause(self) -> None:
        """Let a user who was refused send again in a moment: a server that is down answers at once."""
        self._n_pausing += 1
        asyncio.get_running_loop().call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        self._n_pausing -= 1
        now = perf_counter_ns()
        if not self.stopped_ns and now < self._stop_ns:
            self._submit(self._conversation(now))
        self.idle.set()

    def _next_turn(self, flight: Flight, now: int) -> Flight:
        number, turn = flight.conversation, flight.turn + 1
        before = flight.messages or [self.bodies.message(number, 0)]
        following = self._flight(number, now)
        following.turn = turn
        said: Body = {"role": "assistant", "content": "".join(flight.texts)}
        following.messages = [*before, said, self.bodies.message(number, turn)]
        return following

    def stop(self) -> None:
        """Send nothing more and give up what is under way."""
        if self.stopped_ns:
            return
        self.stopped_ns = perf_counter_ns()
        waiting, self.waiting = list(self.waiting), deque()
        for flight in [*self.in_flight.values(), *waiting]:
            self._give_up(flight, CANCELLED)
        self.idle.set()

    def _give_up(self, flight: Flight, why: str) -> None:
        flight.gives_up = True
        if flight.connection is not None:
            flight.connection.abort(why)
        else:
            flight.ended(perf_counter_ns(), None, why)

    async def _watch(self) -> None:
        due, reported = time.perf_counter() + LAG_INTERVAL_S, 0.0
        while True:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            now = time.perf_counter()
            self.lag_ns.append(int((now - due) * 1e9))
            due = now + LAG_INTERVAL_S
            self._time_out(perf_counter_ns())
            if now - reported > PROGRESS_INTERVAL_S:
                reported = now
                self._report()

    def _time_out(self, clock: int) -> None:
        why = f"timeout after {self.job.timeout_s:g} s"
        due, done = clock - self._timeout_ns, clock - TAIL_NS
        late = [f for f in self.in_flight.values() if f.due_ns < due or 0 < f.whole_ns < done]
        for flight in late:
            self._give_up(flight, why)
        while self.waiting and clock - self.waiting[0].due_ns > self._timeout_ns:
            self._give_up(self.waiting.popleft(), why)

    def _report(self) -> None:
        fresh, self._fresh = self._fresh, []
        self.on_progress(
            LoadProgress(
                elapsed_s=(perf_counter_ns() - self.start_ns) / 1e9,
                n_sent=len(self.flights) - len(self.waiting),
                n_in_flight=len(self.in_flight),
                n_waiting=len(self.waiting),
                n_finished=self.n_finished,
                n_failed=self.n_failed,
                finished=tuple(self._brief(f) for f in fresh[-50:]),
            )
        )

    def _brief(self, f: Flight) -> FinishedRequest:
        first = f.chunk_ns[0] if f.chunk_ns else None
        last = f.chunk_ns[-1] if f.chunk_ns and f.error is None else f.end_ns
        return FinishedRequest(
            index=f.index,
            due_s=(f.due_ns - self.start_ns) / 1e9,
            ttft_s=(first - f.sent_ns) / 1e9 if first else None,
            e2e_s=(last - f.sent_ns) / 1e9 if f.sent_ns else None,
            n_chunks=len(f.chunk_ns),
            error=f.error,
        )

    def _sent(self, f: Flight) -> SentRequest:
        def at(ns: int) -> float | None:
            return (ns - self.start_ns) / 1e9 if ns else None

        return SentRequest(
            index=f.index,
            due_s=(f.due_ns - self.start_ns) / 1e9,
            input_tokens=f.input_tokens,
            sent_s=at(f.sent_ns),
            connect_s=f.connect_ns / 1e9,
            queued_s=f.queued_ns / 1e9,
            first_event_s=at(f.first_event_ns),
            chunk_s=tuple((ns - self.start_ns) / 1e9 for ns in f.chunk_ns),
            chunk_usage=tuple(f.chunk_tokens),
            texts=tuple(f.texts) if self.job.keep_texts else (),
            answer=f.parts.answer if f.parts else None,
            calls=f.parts.calls if f.parts else (),
            first_text_fraction=f.first_characters / f.characters if f.characters else None,
            max_output_tokens=f.output_tokens,
            usage=f.usage,
            n_resent=f.n_resent,
            is_streamed=f.is_streamed,
            is_repeated=f.is_repeated,
            end_s=at(f.end_ns),
            error=f.error,
        )


def _clock_difference() -> float:
    """Return the wall clock minus the monotonic one, which stands still while the machine sleeps."""
    return time.time() - time.perf_counter()
