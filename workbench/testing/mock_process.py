"""The mock server in a process of its own."""

import urllib.request
from dataclasses import asdict
from typing import Any

import orjson

from workbench.testing.child_process import ChildProcess
from workbench.testing.mock_server import MockSettings


class MockProcess(ChildProcess):
    """Starts the mock server on a free port; ends with the ``with`` block or with its parent."""

    def __init__(self, settings: MockSettings | None = None) -> None:
        self.settings = settings or MockSettings()
        super().__init__("workbench.testing.mock_server", "--settings", orjson.dumps(asdict(self.settings)))
        self.port = int(self.first_line)

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

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
