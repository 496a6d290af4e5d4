"""The warm process that sends, seen from the side that asks for a load."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator

import msgspec

from workbench.core.errors import WorkbenchError, system_message
from workbench.core.language import gettext
from workbench.load.address import Address
from workbench.load.ask import request_headers
from workbench.load.credentials import all_forms
from workbench.load.messages import LoadProgress, Message, SendingJob, SentLoad
from workbench.load.preflight import Dialect, usual_dialect
from workbench.load.prompts import drawn_nonce, open_tokenizer, recipe
from workbench.load.schedule import schedule
from workbench.load.spec import LoadSpec

STOP_S = 2.0


class LoadFailed(WorkbenchError):
    """The process that sends ended before it was done."""


class LoadProcess:
    """A child that sends load; kept warm between loads, so that a load starts at once."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "workbench.load.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    def messages(self, spec: LoadSpec, *, dialect: Dialect | None = None) -> Iterator[LoadProgress | SentLoad]:
        """Yield progress now and then and, last, what was sent. Closing the iterator ends the process.

        Args:
            spec: What to send.
            dialect: Fields that this server takes; None: the usual ones.
        """
        yield from self._drive(sending_job(spec, dialect or usual_dialect(spec)))

    def stop(self) -> None:
        """Let the load end now: nothing more is sent, and what was measured follows as its last message."""
        if self._child.stdin is not None and self._child.poll() is None:
            self._child.stdin.write(b"\n")
            self._child.stdin.flush()

    def _drive(self, job: SendingJob) -> Iterator[LoadProgress | SentLoad]:
        assert self._child.stdin is not None
        done = False
        try:
            self._child.stdin.write(msgspec.json.encode(job) + b"\n")
            self._child.stdin.flush()
            for line in self._lines():
                message = msgspec.json.decode(line, type=Message)
                if message.progress is not None:
                    yield message.progress
                if message.result is not None:
                    done = True
                    yield message.result
                    return
        except OSError as error:
            raise LoadFailed(
                gettext("The load process is gone: {error}.").format(error=system_message(error)),
                remedy=gettext("Start the load again."),
            ) from error
        finally:
            if not done:
                self.close()
        raise LoadFailed(
            gettext("The load process ended early."), remedy=gettext("Start the load again; the log has the details.")
        )

    def _lines(self) -> Iterator[bytes]:
        """Yield what the child says. Ctrl-C stops the load, and its last message follows; a second one is not taken."""
        assert self._child.stdout is not None
        descriptor, is_stopped = self._child.stdout.fileno(), False
        parts: list[bytes] = []
        while True:
            try:
                data = os.read(descriptor, 1 << 20)
            except KeyboardInterrupt:
                if is_stopped:
                    raise
                is_stopped = True
                self.stop()
                continue
            if not data:
                return
            *whole, rest = data.split(b"\n")
            for piece in whole:
                yield b"".join([*parts, piece])
                parts = []
            if rest:
                parts.append(rest)

    def close(self) -> None:
        """End the process that sends."""
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
        try:
            self._child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def __enter__(self) -> "LoadProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sending_job(spec: LoadSpec, dialect: Dialect) -> SendingJob:
    """Return what the child needs to know."""
    planned, tokenizer = schedule(spec), open_tokenizer(spec.tokenizer)
    nonce = drawn_nonce() if spec.nonce is None else spec.nonce
    n_requests = len(planned.input_tokens)
    return SendingJob(
        run_id=uuid.uuid4().hex[:8],
        base_url=dialect.base_url,
        target=dialect.target,
        endpoint=spec.endpoint,
        headers=request_headers(spec) if Address.of(dialect.base_url).origin == Address.of(spec.url).origin else {},
        checks_tls=not spec.insecure,
        ca=spec.ca,
        timeout_s=spec.timeout_s,
        concurrency=spec.concurrency,
        closed=spec.arrivals == "closed",
        duration_s=spec.duration_s,
        keep_texts=tokenizer is not None,
        keep_answers=spec.is_structured,
        schedule=planned,
        recipe=recipe(
            spec,
            tokenizer,
            nonce=nonce,
            fields=dialect.fields(spec),
            length_field=dialect.length_field,
            n_requests=n_requests,
        ),
        secrets=all_forms(spec.api_key_env),
    )
