"""Configuration of the gateway: a TOML file, validated as strictly as the requests."""

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from workbench.core.errors import InvalidSpec
from workbench.gateway.admission import LimitRule
from workbench.gateway.breaker import BreakerRule
from workbench.gateway.degradation import Rung
from workbench.gateway.token_bucket import Rate
from workbench.gateway.upstream_config import Upstream, require_positive
from workbench.gateway.validation import Limits
from workbench.release.rule import CanaryRule

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DIGEST = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig(CanaryRule):
    """Canary rollout between two versions, and how the new one is judged."""

    stable: str
    canary: str
    journal: str
    """File to which every step is written before it is taken."""
    model: str = "model"
    """Name under which both versions are served."""
    gold: str | None = None
    """File of prompts (JSON lines with ``prompt``) that both versions answer; None: answers are not compared."""
    gold_every_s: float = 5.0
    """Time between two prompts of the file."""
    silence_s: float = 30.0
    """Time without any content after which a streamed request counts as failed; four times as long for answers that are not streamed."""

    def __post_init__(self) -> None:
        CanaryRule.__post_init__(self)
        if not self.silence_s > 0 or not self.gold_every_s > 0:
            raise InvalidSpec(
                f"silence_s is {self.silence_s:g}, gold_every_s {self.gold_every_s:g}.",
                remedy="Give seconds above zero.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A client with an API key, and its limits."""

    name: str
    key_digest: str
    """``sha256:`` and the hexadecimal digest of the key: `workbench gateway --hash-key` prints it. The key itself is stored nowhere."""
    requests_per_s: float = 10.0
    requests_at_once: float = 20.0
    tokens_per_s: float = 10_000.0
    tokens_at_once: float = 100_000.0
    weight: float = 1.0
    """Share of the capacity while requests wait, relative to the other tenants."""

    def __post_init__(self) -> None:
        _require_digest(self.key_digest, self.name)
        require_positive(self, "requests_per_s", "requests_at_once", "tokens_per_s", "tokens_at_once", "weight")

    @property
    def request_rate(self) -> Rate:
        """Rate limit of requests per second."""
        return Rate(per_s=self.requests_per_s, burst=self.requests_at_once)

    @property
    def token_rate(self) -> Rate:
        """Rate limit of prompt and answer tokens together."""
        return Rate(per_s=self.tokens_per_s, burst=self.tokens_at_once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admin:
    """How operators read ``/metrics`` and ``/rollout``: with a key, or at an address of their own."""

    key_digest: str | None = None
    """Digest of the operators' key, as of a tenant's."""
    host: str = "127.0.0.1"
    port: int | None = None
    """Port at which operators need no key, and beside which the paths do not exist; None: no such port."""

    def __post_init__(self) -> None:
        if self.key_digest is not None:
            _require_digest(self.key_digest, "the operators")
        if self.port is not None and not 0 < self.port < 65536:
            raise InvalidSpec(f"admin.port is {self.port}.", remedy="Give one from 1 to 65535.")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The whole configuration; each part has defaults."""

    upstreams: tuple[Upstream, ...]
    tenants: tuple[Tenant, ...] = ()
    """Without tenants no key is required, and limits apply to addresses."""
    anonymous: Tenant | None = None
    limits: Limits = field(default_factory=Limits)
    concurrency: LimitRule = field(default_factory=LimitRule)
    breaker: BreakerRule = field(default_factory=BreakerRule)
    degradation: tuple[Rung, ...] = ()
    """Rungs of degradation while requests wait too long."""
    rollout: RolloutConfig | None = None
    max_waiting: int = 256
    deadline_s: float = 10.0
    """Longest wait before a request begins; one that would wait longer is refused at once, with a Retry-After."""
    cache_bytes: int = 0
    """Size of the cache of answers to greedy requests; 0 disables it."""
    cache_ttl_s: float = 300.0
    admin: Admin = field(default_factory=Admin)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies whose X-Forwarded-For is believed."""
    header_timeout_s: float = 10.0
    """Time within which the headers of a request must be received, and a new connection must send some."""
    idle_timeout_s: float = 30.0
    """Time after which a connection without a request is closed."""
    body_timeout_s: float = 10.0
    """Time within which the body of a request must be received."""
    answer_timeout_s: float = 300.0
    abandoned_answer_s: float = 30.0
    """Longest time for which an answer that is not streamed is awaited after its client left, for its usage; 0: it is stopped, and charged by estimate."""
    first_byte_timeout_s: float = 60.0
    """Time within which a server must begin a stream; another replica is asked after it."""
    health_every_s: float = 5.0
    """Time between two health checks of a server; 0 disables them."""
    health_timeout_s: float = 2.0
    count_cache_hits: bool = True
    """Whether answers from the cache count against the rate of requests."""
    retry_share: float = 0.1
    """Retries on other replicas, as a share of the requests."""
    prefix_characters: int = 256
    """Length of the prompt prefix that chooses the replica; 0 chooses the least loaded one."""
    redact: bool = False
    """Replace personal data and secrets in prompts and answers."""
    redis: str | None = None
    """URL of a Redis server in which several gateways share their limits; None: each gateway keeps its own."""
    audit: str | None = None
    """File of one JSON line for each request, without prompts or keys."""

    def __post_init__(self) -> None:
        require_positive(
            self,
            *("max_waiting", "deadline_s", "cache_ttl_s", "body_timeout_s", "answer_timeout_s"),
            *("first_byte_timeout_s", "health_timeout_s", "header_timeout_s", "idle_timeout_s"),
        )
        for network in self.trusted_proxies:
            try:
                ip_network(network, strict=False)
            except ValueError as error:
                raise InvalidSpec(f"trusted_proxies: {error}.", remedy="Give addresses or networks.") from error
        for name in ("cache_bytes", "prefix_characters", "health_every_s", "abandoned_answer_s"):
            if not getattr(self, name) >= 0:
                raise InvalidSpec(f"{name} is {getattr(self, name)}.", remedy="Give zero or more.")
        if not 0 <= self.retry_share <= 1:
            raise InvalidSpec(f"retry_share is {self.retry_share}.", remedy="Give a share from 0 to 1.")


def _require_digest(text: str, name: str) -> None:
    digest = text.removeprefix(DIGEST)
    if not text.startswith(DIGEST) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise InvalidSpec(
            f"The key_digest of {name} is not a SHA-256 digest.", remedy="Make one with `workbench gateway --hash-key`."
        )


PARTS: "dict[str, type[DataclassInstance]]" = {
    "upstreams": Upstream,
    "tenants": Tenant,
    "degradation": Rung,
    "limits": Limits,
}
PARTS |= {
    "concurrency": LimitRule,
    "breaker": BreakerRule,
    "admin": Admin,
    "anonymous": Tenant,
    "rollout": RolloutConfig,
}


def key_digest(key: str) -> str:
    """Return the digest that the configuration holds instead of a key."""
    return DIGEST + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def tenant_of(key: str, tenants: tuple[Tenant, ...]) -> Tenant | None:
    """Return the tenant of a key, or None; every digest is compared in constant time, so that timing reveals nothing."""
    digest = key_digest(key)
    matches = [tenant for tenant in tenants if hmac.compare_digest(digest, tenant.key_digest)]
    return matches[-1] if matches else None


def read_config(file: Path) -> GatewayConfig:
    """Return the configuration of a file; raises ``InvalidSpec`` with the place of what is wrong."""
    try:
        values = tomllib.loads(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSpec(
            f"{file} cannot be read: {error}.", remedy="Name a TOML file; --example prints one."
        ) from error
    return config_of(values)


def config_of(table: Mapping[str, object]) -> GatewayConfig:
    """Return the configuration of a decoded TOML file; raises ``InvalidSpec`` with the place of what is wrong."""
    values: dict[str, object] = {"upstreams": []} | dict(table)
    if isinstance(anonymous := values.get("anonymous"), Mapping):
        values |= {"anonymous": {"name": "anonymous", "key_digest": key_digest("")} | dict(anonymous)}
    _require_known(GatewayConfig, values, "the file")
    _require_known_parts(values)
    try:
        config = msgspec.convert(values, GatewayConfig)
    except msgspec.ValidationError as error:
        raise InvalidSpec(f"{error}.", remedy="See --example.") from error
    if not config.upstreams:
        raise InvalidSpec("There are no upstreams.", remedy="Add [[upstreams]] with name and url.")
    for what, names in (
        ("upstreams", [u.name for u in config.upstreams]),
        ("tenants", [t.name for t in config.tenants]),
    ):
        if len(set(names)) != len(names):
            raise InvalidSpec(f"Two {what} have the same name.", remedy="Give each a name of its own.")
    for upstream in config.upstreams:
        upstream.require_url()
    known = {u.version for u in config.upstreams}
    if config.rollout and (missing := sorted({config.rollout.stable, config.rollout.canary} - known)):
        cause = f"No upstream has the version {', '.join(missing)}."
        raise InvalidSpec(cause, remedy="Give each of [[upstreams]] its version.")
    return config


def _require_known_parts(values: Mapping[str, object]) -> None:
    for name, kind in PARTS.items():
        part = values.get(name, ())
        if isinstance(part, list | tuple):
            for i, one in enumerate(part):
                _require_known(kind, one, f"{name}[{i}]")
        else:
            _require_known(kind, part, name)


def _require_known(kind: "type[DataclassInstance]", values: object, where: str) -> None:
    if not isinstance(values, Mapping):
        raise InvalidSpec(f"{where} is not a table.", remedy="See --example.")
    known = {f.name for f in fields(kind)}
    if extra := ", ".join(sorted(set(values) - known)):
        raise InvalidSpec(f"{where} has unknown fields {extra}.", remedy=f"Known: {', '.join(sorted(known))}.")
