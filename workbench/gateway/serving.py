"""The gateway as a server: time-outs of connections, an address of its own for operators, and a new configuration on SIGHUP."""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Literal

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.core.errors import WorkbenchError
from workbench.gateway.app import OPERATORS, Gateway
from workbench.gateway.asgi import Denied, Receive, Scope, Send, deny
from workbench.gateway.config import GatewayConfig

log = logging.getLogger(__name__)
Read = Callable[[], GatewayConfig]
MOST_HEADER_BYTES = 16_384


class TimedProtocol(HttpToolsProtocol):
    """HTTP protocol that closes a connection whose request has no complete headers within a time, however slowly they drip."""

    header_timeout_s = 10.0
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of the headers from the first byte of a request on."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()

    def on_headers_complete(self) -> None:
        """Stop to wait: the body and the answer have time-outs of their own."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Leave the connection to the time-out of idle ones."""
        self._stop_waiting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop to wait for headers."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = asyncio.get_running_loop().call_later(self.header_timeout_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def serve(gateway: Gateway, *, host: str, port: int, read: Read | None = None) -> None:
    """Serve a gateway until a signal ends it; ``read`` reads the configuration anew on SIGHUP."""
    asyncio.run(_serve(gateway, host=host, port=port, read=read))


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
            http=type("TimedProtocol", (TimedProtocol,), {"header_timeout_s": config.header_timeout_s}),
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # forwarded addresses are the gateway's to judge
            timeout_keep_alive=max(1, round(config.idle_timeout_s)),
            h11_max_incomplete_event_size=MOST_HEADER_BYTES,
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
