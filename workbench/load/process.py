"""The warm process that sends, seen from the side that asks for a load."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from workbench.core.errors import WorkbenchError
from workbench.core.load import LoadSpec
from workbench.load.prompts import bodies, open_tokenizer
from workbench.load.schedule import Planned, schedule


class LoadFailed(WorkbenchError):
    """The process that sends ended before it was done."""


def api_headers(spec: LoadSpec) -> dict[str, str]:
    """The key of the environment as a header, if there is one."""
    key = os.environ.get(spec.api_key_env, "")
    return {"Authorization": f"Bearer {key}"} if key else {}


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

    def messages(self, spec: LoadSpec, *, without: Sequence[str] = ()) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """("progress", counts) now and then and, last, ("result", rows). Closing the iterator stops the load.

        Args:
            spec: What to send.
            without: Fields of the bodies that this server does not know.
        """
        planned = schedule(spec)
        tokenizer = open_tokenizer(spec.tokenizer)
        made = bodies(spec, planned, tokenizer)
        for body in made:
            strip(body, without)
        yield from self._drive(job_of(spec, planned, made, keep_texts=tokenizer is not None))

    def _drive(self, job: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            self._child.stdin.write(orjson.dumps(job) + b"\n")
            self._child.stdin.flush()
            done = False
            try:
                for line in self._child.stdout:
                    message = orjson.loads(line)
                    if message["kind"] == "ready":
                        continue
                    done = message["kind"] == "result"
                    yield message["kind"], message["value"]
                    if done:
                        return
            finally:
                if not done:
                    self.close()
        except OSError as error:
            raise LoadFailed(f"The load process is gone: {error}.", remedy="Start the load again.") from error
        raise LoadFailed("The load process ended early.", remedy="Start the load again; the log has the details.")

    def close(self) -> None:
        """End the child."""
        if self._child.stdin is not None:
            self._child.stdin.close()
        try:
            self._child.wait(1.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def __enter__(self) -> "LoadProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def strip(body: dict[str, Any], without: Sequence[str]) -> None:
    """Leave fields out of a body; "a.b" names a field of a field."""
    for name in without:
        outer, _, inner = name.partition(".")
        if inner and isinstance(body.get(outer), dict):
            body[outer] = {k: v for k, v in body[outer].items() if k != inner}
        elif not inner:
            body.pop(outer, None)


def job_of(
    spec: LoadSpec, planned: Sequence[Planned], made: Sequence[Mapping[str, Any]], *, keep_texts: bool
) -> dict[str, Any]:
    """What the child needs to know."""
    return {
        "run_id": uuid.uuid4().hex[:8],
        "base_url": spec.base_url,
        "path": "/v1/chat/completions" if spec.endpoint == "chat" else "/v1/completions",
        "headers": api_headers(spec),
        "timeout_s": spec.timeout_s,
        "concurrency": spec.concurrency,
        "closed": spec.arrivals == "closed",
        "duration_s": spec.duration_s,
        "keep_texts": keep_texts,
        "requests": [{"due_s": p.due_s, "body": b} for p, b in zip(planned, made, strict=True)],
    }
