"""Single requests to a server, one after the other over one connection: questions before and after a load."""

import contextlib
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

import orjson

from workbench.core.errors import InvalidSpec, first_line
from workbench.core.language import gettext
from workbench.load.address import Address
from workbench.load.connection import request_head, tls_context
from workbench.load.credentials import all_forms, api_key, basic, hidden, is_header_value, redacted
from workbench.load.response import ResponseReader
from workbench.load.spec import LoadSpec

MOST_REDIRECTS = 5
MOST_PAUSE_S = 30.0
FIRST_PAUSE_S = 0.2


def request_headers(spec: LoadSpec) -> dict[str, str]:
    """Return the headers that carry key, password and what else the spec names.

    Raises:
        InvalidSpec: A value is not kept in this process, or is none that a header can carry.
    """
    address, headers = Address.of(spec.url), {}
    if user := hidden(f"{address.origin} user"):
        headers["Authorization"] = basic(user)
    if key := api_key(spec.api_key_env):
        is_bearer = spec.api_key_header.lower() == "authorization"
        if not is_bearer or "Authorization" not in headers:
            headers[spec.api_key_header] = f"Bearer {key}" if is_bearer else key
    for name in spec.headers:
        value = hidden(f"header {name.lower()}")
        if value is None:
            raise InvalidSpec(
                gettext("The value of the header {name} is not known here: it is never stored.").format(name=name),
                remedy=gettext("Give it again: --header '{name}: VALUE'.").format(name=name),
            )
        if not is_header_value(value):
            raise InvalidSpec(
                gettext("The value of the header {name} has a line break.").format(name=name),
                remedy=gettext("Give one line."),
            )
        headers = {n: v for n, v in headers.items() if n.lower() != name.lower()} | {name: value}
    return headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole response with its status and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: Address
    """Who answered, after redirects."""
    target: str

    @property
    def retry_after_s(self) -> float | None:
        """Return how long the server wants to be left alone (RFC 9110, section 10.2.3)."""
        value = self.headers.get("retry-after", "")
        with contextlib.suppress(ValueError):
            return max(0.0, float(value))
        with contextlib.suppress(ValueError, TypeError):
            return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
        return None

    def message(self) -> str:
        """Return the cause that an error's body gives, in the forms of common servers."""
        try:
            data = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return self.body[:300].decode(errors="replace").strip() or "no message"
        inner = data.get("error", data) if isinstance(data, dict) else data
        if isinstance(inner, dict):
            inner = inner.get("message") or inner.get("detail") or inner
        return str(inner)[:300]


class Asker:
    """Asks over one connection, opened again when it was lost. Redirects to the same origin are followed.

    A redirect to another origin is followed only where no key, password or header would go there.
    """

    def __init__(self, spec: LoadSpec, *, timeout_s: float = 20.0) -> None:
        self.spec, self.timeout_s = spec, min(timeout_s, spec.timeout_s)
        self.address = Address.of(spec.url)
        self.secrets = all_forms(spec.api_key_env)
        self._headers = request_headers(spec)
        self._socket: socket.socket | None = None
        self._open_to: Address | None = None

    def redacted(self, text: object) -> str:
        """Return a text without keys and passwords."""
        return redacted(str(text), self.secrets)

    def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        on_body: Callable[[bytes], None] | None = None,
    ) -> Reply:
        """Return the response to one request.

        Args:
            method: Of HTTP.
            target: Path and query.
            body: To be sent as JSON; None: nothing.
            on_body: Called with each piece of the body as it comes; the reply then holds none.

        Raises:
            OSError: The server cannot be reached, is lost or takes too long.
            ValueError: What comes is not HTTP.
        """
        data = b"" if body is None else orjson.dumps(body)
        address = self.address
        for _ in range(MOST_REDIRECTS):
            reply = self._once(address, method, target, data, on_body)
            if reply.status not in {307, 308}:
                return reply
            found = address.redirected(target, reply.headers.get("location", ""))
            if found is None or (found[0].origin != self.address.origin and self._headers):
                return reply
            address, target = found
        return reply

    def _once(
        self, address: Address, method: str, target: str, data: bytes, on_body: Callable[[bytes], None] | None
    ) -> Reply:
        kept: list[bytes] = []
        headers = self._headers if address.origin == self.address.origin else {}
        head = request_head(method, address, target, headers, len(data))
        is_kept = self._socket is not None and self._open_to == address
        while True:
            reader = ResponseReader(on_body or kept.append)
            try:
                connection = self._connected(address)
                connection.sendall(head + data)
                self._receive(connection, reader)
                break
            except (OSError, ValueError):
                self.close()
                if not is_kept or reader.has_head:
                    raise
                is_kept = False  # closed while nobody looked
        if not reader.keeps_alive:
            self.close()
        return Reply(status=reader.status, headers=reader.headers, body=b"".join(kept), address=address, target=target)

    def _receive(self, connection: socket.socket, reader: ResponseReader) -> None:
        deadline = time.monotonic() + self.timeout_s
        while not reader.is_complete:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            connection.settimeout(left)
            data = connection.recv(65_536)
            if data:
                reader.feed(data)
            elif not reader.ends():
                raise ConnectionResetError("the server closed the connection")

    def _connected(self, address: Address) -> socket.socket:
        if self._socket is not None and self._open_to == address:
            return self._socket
        self.close()
        made = socket.create_connection((address.host, address.port), timeout=self.timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.tls:
            context = tls_context(checks=not self.spec.insecure, ca=self.spec.ca)
            made = context.wrap_socket(made, server_hostname=address.host)
        self._socket, self._open_to = made, address
        return made

    def close(self) -> None:
        """Close the connection to the server."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
        self._socket = None

    def __enter__(self) -> "Asker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def asked_again(
    ask: Callable[[], Reply], *, tries: int, patience_s: float, pause: Callable[[float], None] = time.sleep
) -> Reply:
    """Return a reply, asking again where the connection is cut or the server is busy; the last reply or error counts.

    Args:
        ask: Asks once.
        tries: Most attempts.
        patience_s: Longest time to wait between two, also where ``Retry-After`` asks for more.
        pause: Waits.
    """
    rng = random.Random(0)
    for attempt in range(tries):
        is_last = attempt == tries - 1
        wait_s = FIRST_PAUSE_S * 2**attempt * (1 + rng.random() / 4)
        try:
            reply = ask()
        except ssl.SSLError:
            raise
        except (ConnectionError, ValueError) as error:
            if is_last or isinstance(error, ConnectionRefusedError):
                raise
        else:
            if is_last or (reply.status < 500 and reply.status not in {408, 425, 429}):
                return reply
            wait_s = reply.retry_after_s if reply.retry_after_s is not None else wait_s
        pause(min(wait_s, patience_s))
    raise AssertionError("the last attempt returns or raises")


def served_models(spec: LoadSpec) -> list[str]:
    """Return the names that the server lists; empty when they cannot be read."""
    try:
        return _listed_models(spec)
    except OSError:
        return []


def _listed_models(spec: LoadSpec) -> list[str]:
    """Return the names that the server lists; raises ``OSError`` where it does not answer."""
    try:
        with Asker(spec, timeout_s=5.0) as asker:
            data = orjson.loads(asker.ask("GET", asker.address.versioned("/models")).body)
        listed = data.get("data", data.get("models")) if isinstance(data, dict) else data
        return [str(m.get("id") or m.get("name")) for m in listed or ()]
    except (ValueError, AttributeError, TypeError):
        return []


def the_model(spec: LoadSpec) -> str:
    """Return the only model that a server lists; raises ``InvalidSpec`` where there is none or a choice, or no answer."""
    try:
        models = _listed_models(replace(spec, model="-"))
    except OSError as error:
        raise InvalidSpec(
            gettext("{url} lists no models, because it does not answer: {error}.").format(
                url=spec.base_url, error=first_line(error)
            ),
            remedy=gettext("Start the server, or check the URL."),
        ) from error
    if len(models) == 1:
        return models[0]
    if not models:
        raise InvalidSpec(
            gettext("{url} lists no models.").format(url=spec.base_url),
            remedy=gettext("Check the URL, or name the model with --model."),
        )
    shown = ", ".join(models[:20]) + (", ..." if len(models) > 20 else "")
    raise InvalidSpec(
        gettext("{url} lists several models: {names}.").format(url=spec.base_url, names=shown),
        remedy=gettext("Name one of them with --model."),
    )
