"""The mock server in a process of its own."""

import subprocess
import sys
import urllib.request
from dataclasses import asdict
from typing import Any

import orjson

from workbench.testing.mock_server import MockSettings


class MockProcess:
    """Starts the mock server on a free port; ends with the ``with`` block or with its parent."""

    def __init__(self, settings: MockSettings | None = None) -> None:
        self.settings = settings or MockSettings()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "workbench.testing.mock_server", "--settings", orjson.dumps(asdict(self.settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._child.stdout is not None
        self.port = int(self._child.stdout.readline())

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def _get(self, path: str, data: bytes | None = None) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, data=data, timeout=10) as answer:
            return orjson.loads(answer.read())

    def truth(self) -> dict[str, dict[str, Any]]:
        """The log, by request id."""
        return {row["request_id"]: row for row in self._get("/truth")["requests"]}

    def reset(self) -> None:
        """Empty the log."""
        self._get("/reset", b"")

    def close(self) -> None:
        """End the server."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> "MockProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
