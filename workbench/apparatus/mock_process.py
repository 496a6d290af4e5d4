"""The mock server in a process of its own."""

import urllib.request
from dataclasses import asdict

import msgspec
import orjson

from workbench.apparatus.child_process import ChildProcess
from workbench.apparatus.mock_dialects import Truth
from workbench.apparatus.mock_server import MockSettings


class _Log(msgspec.Struct):
    requests: list[Truth]


class MockProcess(ChildProcess):
    """Starts the mock server on a free port; ends with the ``with`` block or with its parent."""

    def __init__(self, settings: MockSettings | None = None) -> None:
        self.settings = settings or MockSettings()
        super().__init__("workbench.apparatus.mock_server", "--settings", orjson.dumps(asdict(self.settings)))
        self.port = int(self.first_line)

    @property
    def url(self) -> str:
        """Base URL of the mock server."""
        return f"http://127.0.0.1:{self.port}"

    def _get(self, path: str, data: bytes | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, data=data, timeout=10) as answer:
            body: bytes = answer.read()
        return body

    def truth(self) -> dict[str, Truth]:
        """Return the log by request id."""
        return {row.request_id: row for row in msgspec.json.decode(self._get("/truth"), type=_Log).requests}

    def reset(self) -> None:
        """Empty the mock server's log."""
        self._get("/reset", b"")
