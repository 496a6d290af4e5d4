"""Where a server is: origin, path and query of its base URL, and its routes."""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit, urlunsplit

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext, gettext_noop
from workbench.load.credentials import HIDDEN, SECRET_NAME, hidden, hide

SUFFIXES = {
    "completions": "/completions",
    "chat": "/chat/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
}
VERSIONED = re.compile(r"/v\d+[a-z0-9]*(/openai)?$|/openai/deployments/[^/]+$")
"""Paths below which routes stand without a further /v1: /v1, /api/v3, /v1beta/openai, Azure's deployments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Origin, path and query of a base URL."""

    host: str
    port: int
    tls: bool
    path: str = ""
    query: str = ""

    @classmethod
    def of(cls, url: str) -> "Address":
        """Return the address of a base URL; raises ``InvalidSpec`` for text that is none."""
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname
        except ValueError as error:
            raise InvalidSpec(
                gettext("The URL of the server has a port or an address that is none."), remedy=gettext(REMEDY)
            ) from error
        if parts.scheme not in {"http", "https"} or not host:
            raise InvalidSpec(
                gettext("{url} is not a URL.").format(url=repr(without_user(url))),
                remedy=gettext(REMEDY),
            )
        tls = parts.scheme == "https"
        path, query = parts.path.rstrip("/"), parts.query
        return cls(host=host, port=port or (443 if tls else 80), tls=tls, path=path, query=query)

    @property
    def host_header(self) -> str:
        """Return host and port as the ``Host`` header writes them: IPv6 in brackets, a default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://{self.host_header}"

    @property
    def root(self) -> str:
        """Return the path without the version, under which ``/health`` and ``/metrics`` stand."""
        for suffix in SUFFIXES.values():
            if self.path.endswith(suffix):
                return self.path.removesuffix(suffix).removesuffix("/v1")
        return self.path.removesuffix("/v1")

    def route(self, endpoint: str) -> str:
        """Return path and query of an endpoint's requests."""
        suffix = SUFFIXES[endpoint]
        if self.path.endswith(suffix):
            return self._with_query(self.path)
        return self.versioned(suffix)

    def versioned(self, suffix: str) -> str:
        """Return path and query of a route below the version of the interface."""
        path = self.path
        for known in SUFFIXES.values():
            path = path.removesuffix(known)
        return self._with_query(path + suffix if VERSIONED.search(path) else f"{path}/v1{suffix}")

    def plain(self, suffix: str) -> str:
        """Return path and query of a route that has no version."""
        return self._with_query(self.root + suffix)

    def _with_query(self, path: str) -> str:
        if not self.query:
            return path
        pairs = parse_qsl(self.query, keep_blank_values=True)
        values = [(n, hidden(f"{self.origin} query {n}") or v if v == HIDDEN else v) for n, v in pairs]
        return path + "?" + "&".join(f"{quote(n)}={quote(v)}" for n, v in values)

    def redirected(self, target: str, location: str) -> tuple["Address", str] | None:
        """Return the address and the target that a ``Location`` names, seen from a target of this one; None for no URL."""
        try:
            url = urljoin(self.origin + target, location)
            to = Address.of(url)
        except (InvalidSpec, ValueError):
            return None
        parts = urlsplit(url)
        where = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return replace(to, path=self.path, query=self.query), where


REMEDY = gettext_noop("Give one like http://localhost:8000.")


def without_user(url: str) -> str:
    """Return a URL without the user and the password in it."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return scheme + mark + place.rpartition("@")[2] + slash + path if mark else url.rpartition("@")[2]


def cleaned(url: str) -> str:
    """Return a URL as it may be stored, and keep its password and the secret values of its query for requests."""
    address, parts = Address.of(url), urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    if user:
        hide(f"{address.origin} user", unquote(user))
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    if not any(SECRET_NAME.search(n) for n, _ in pairs):
        return urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    shown = []
    for name, value in pairs:
        if SECRET_NAME.search(name) and value != HIDDEN:
            hide(f"{address.origin} query {name}", value)
        shown.append(f"{quote(name)}={HIDDEN if SECRET_NAME.search(name) else quote(value)}")
    return urlunsplit((parts.scheme, place, parts.path, "&".join(shown), ""))
