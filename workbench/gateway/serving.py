"""The gateway as a server: time-outs of connections, an address of its own for operators, and a new configuration on SIGHUP."""

import asyncio
import gc
import logging
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.core.errors import WorkbenchError
from workbench.gateway.app import OPERATORS, Gateway
from workbench.gateway.asgi import Denied, Receive, Scope, Send, deny
from workbench.gateway.config import GatewayConfig

log = logging.getLogger(__name__)
Read = Callable[[], GatewayConfig]
MOST_HEADER_BYTES = 65_536
"""Of one request, before its headers are read; the gateway refuses less."""
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class TimedProtocol(HttpToolsProtocol):
    """HTTP protocol that closes a connection whose request has no complete headers within a time, however slowly they drip.

    It also closes one that sends more than ``MOST_HEADER_BYTES`` of headers or trailers, and, where too many wait, the one that has waited longest.
    """

    header_timeout_s = 10.0
    most_waiting = 4096
    all_waiting: "dict[TimedProtocol, None]" = {}  # noqa: RUF012 -- one for each server, in the class that is made for it
    """Connections without complete headers, those that have waited longest first."""
    _waiting: asyncio.TimerHandle | None = None
    _n_loose_bytes = 0
    """Bytes since the last complete headers, or piece of a body."""
    _advances = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of the headers from the first byte of a request on."""
        self._advances = False
        super().data_received(data)
        self._n_loose_bytes = 0 if self._advances else self._n_loose_bytes + len(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if self._n_loose_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
            if not is_answering:
                self.transport.write(TOO_LARGE)
            self.transport.close()
        elif is_answering:
            self.stop_waiting()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()

    def on_headers_complete(self) -> None:
        """Stop to wait: the body and the answer have time-outs of their own."""
        self._advances = True
        self.stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that the body goes on."""
        self._advances = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Leave the connection to the time-out of idle ones."""
        self.stop_waiting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait for headers."""
        self.stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(self.header_timeout_s, self.transport.close)
        self.all_waiting[self] = None
        if len(self.all_waiting) > self.most_waiting:
            oldest = next(iter(self.all_waiting))
            oldest.stop_waiting()
            oldest.transport.close()

    def stop_waiting(self) -> None:
        """End the wait for headers."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            self.all_waiting.pop(self, None)


def timed_protocol(header_timeout_s: float, *, most_waiting: int | None = None) -> type[TimedProtocol]:
    """Return the protocol of one server; ``most_waiting`` is a half of the files that this process may open, where it is not given."""
    if most_waiting is None:
        most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        most_waiting = TimedProtocol.most_waiting
        if most_files != resource.RLIM_INFINITY:
            most_waiting = min(most_waiting, most_files // 2)
    values = {"header_timeout_s": header_timeout_s, "most_waiting": most_waiting, "all_waiting": {}}
    return type("TimedProtocol", (TimedProtocol,), values)


def serve(gateway: Gateway, *, host: str, port: int, read: Read | None = None) -> None:
    """Serve a gateway until a signal ends it; ``read`` reads the configuration anew on SIGHUP."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # every connection takes one; not every system lets the limit grow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    gc.freeze()  # what is imported stays: the collector need not walk it between two tokens
    uvloop.run(_serve(gateway, host=host, port=port, read=read))


async def _serve(gateway: Gateway, *, host: str, port: int, read: Read | None) -> None:
    config, loop = gateway.config, asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    if read is not None and hasattr(signal, "SIGHUP"):

        def reload() -> None:
            task = asyncio.create_task(reload_config(gateway, read))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
    servers = [_server(gateway, config, host=host, port=port)]
    if config.admin.port is not None:
        operators = _Operators(gateway)
        servers.append(_server(operators, config, host=config.admin.host, port=config.admin.port, lifespan="off"))
    await asyncio.gather(*(server.serve() for server in servers))


def _server(
    app: "Gateway | _Operators", config: GatewayConfig, *, host: str, port: int, lifespan: Literal["on", "off"] = "on"
) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            lifespan=lifespan,
            http=timed_protocol(config.header_timeout_s),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # forwarded addresses are the gateway's to judge
            timeout_keep_alive=max(1, round(config.idle_timeout_s)),
        )
    )


async def reload_config(gateway: Gateway, read: Read) -> None:
    """Use the configuration as it is now; one that is refused is reported, and the old one stays in use."""
    try:
        await gateway.reload(read())
    except (WorkbenchError, OSError) as error:
        gateway.is_reloaded = False
        log.error("The new configuration is refused, and the old one stays in use: %s", error)
    else:
        gateway.is_reloaded = True
        log.warning("The new configuration is in use.")


class _Operators:
    """ASGI application of the operators' address."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if scope.get("type") != "http":
            return
        try:
            if scope.get("method") != "GET" or scope.get("path") not in OPERATORS:
                raise Denied(404, "not_found", "This address has no such route.")
            await self._gateway.operate(str(scope["path"]), send)
        except Denied as denied:
            await deny(send, denied)
