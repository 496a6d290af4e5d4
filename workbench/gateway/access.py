"""Who a client is: its address behind known proxies, its tenant by key, and who may read what operators read."""

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address, ip_address, ip_network

from workbench.gateway.asgi import Denied, HttpScope
from workbench.gateway.config import GatewayConfig, Tenant, key_digest, tenant_of
from workbench.gateway.token_bucket import Clock, Penalties

WRONG_KEYS = 10.0
"""Wrong keys from one address after which it may try no unknown key for a while."""
HALF_LIFE_S = 60.0
MOST_KNOWN = 10_000
ANONYMOUS = "anonymous"


def client_address(scope: HttpScope, trusted_proxies: Sequence[str]) -> str:
    """Return the address of the client: the last one of X-Forwarded-For that is no named proxy, where the connection comes from one."""
    address = scope.address
    if not trusted_proxies or not _is_within(address, trusted_proxies):
        return address
    forwarded = b",".join(v for k, v in scope.headers if k == b"x-forwarded-for").decode("latin-1")
    for hop in reversed([h.strip() for h in forwarded.split(",") if h.strip()]):
        try:
            address = str(ip_address(hop.strip("[]")))
        except ValueError:
            return address
        if not _is_within(address, trusted_proxies):
            return address
    return address


def _is_within(address: str, networks: Sequence[str]) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return any(ip in ip_network(network, strict=False) for network in networks)


def is_loopback(address: str) -> bool:
    """Return whether an address is of the same machine."""
    return _is_within(address, ("127.0.0.0/8", "::1/128"))


def offender(address: str) -> str:
    """Return the address, or its /64 network for IPv6, of which one client can use every address."""
    try:
        ip = ip_address(address)
    except ValueError:
        return address
    return str(ip_network(f"{ip}/64", strict=False)) if isinstance(ip, IPv6Address) else address


class KeyDoor:
    """Returns tenants by key, and slows addresses that try keys: after several wrong ones, only keys that were right before are looked at."""

    def __init__(self, config: GatewayConfig, *, clock: Clock) -> None:
        self.config = config
        self._penalties = Penalties(limit=WRONG_KEYS, half_life_s=HALF_LIFE_S, clock=clock)
        self._right: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def tenant(self, headers: Mapping[bytes, bytes], address: str) -> Tenant:
        """Return the tenant of a request; raises ``Denied`` for a missing or wrong key, and for any while too many wrong ones were sent."""
        config, key = self.config, _key(headers)
        is_open = not config.tenants or config.anonymous is not None
        # Where keys are not required, an unknown one is none, and the limits of those without a key slow its guesses.
        if config.tenants and key is not None:
            place = (offender(address), hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
            if not is_open:
                self._require_patience(place)
            if (tenant := tenant_of(key, config.tenants)) is not None:
                self._remember(place)
                return tenant
        if not is_open:
            if key is not None:
                self._penalties.offend(offender(address))
            raise Denied(401, "no_key", "An API key is required, and this one is missing or not known.")
        return config.anonymous or Tenant(name=ANONYMOUS, key_digest="sha256:" + "0" * 64)

    def require_operator(self, scope: HttpScope, address: str) -> None:
        """Raise ``Denied`` for a client that may not read what operators read: by key where one is configured, else only without tenants and from here."""
        admin = self.config.admin
        if admin.port is not None:
            raise Denied(404, "not_found", "This gateway has no such route at this address.")
        if admin.key_digest is None:
            if not self.config.tenants and is_loopback(scope.address) and is_loopback(address):
                return
            text = "Operators need a key or an address of their own here: [admin] key_digest, or host and port."
            raise Denied(403, "no_admin", text)
        key = _key(scope.header)
        place = (f"admin {offender(address)}", hashlib.sha256((key or "").encode("utf-8", "surrogatepass")).digest())
        self._require_patience(place)
        if key is None or not hmac.compare_digest(key_digest(key), admin.key_digest):
            if key is not None:
                self._penalties.offend(place[0])
            raise Denied(401, "no_key", "The key of an operator is required.")
        self._remember(place)

    def _require_patience(self, place: tuple[str, bytes]) -> None:
        refused = self._penalties.refusal(place[0])
        if refused is not None and place not in self._right:
            text = "Too many wrong keys were sent from this address."
            raise Denied(429, "wrong_keys", text, retry_after_s=refused.retry_after_s)

    def _remember(self, place: tuple[str, bytes]) -> None:
        self._right[place] = None
        self._right.move_to_end(place)
        if len(self._right) > MOST_KNOWN:
            self._right.popitem(last=False)


def _key(headers: Mapping[bytes, bytes]) -> str | None:
    scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None
