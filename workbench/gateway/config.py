"""What a gateway is told: a TOML file, checked as strictly as the requests that it lets through."""

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from workbench.core.errors import InvalidSpec
from workbench.gateway.admission import LimitRule
from workbench.gateway.breaker import BreakerRule
from workbench.gateway.degradation import Rung
from workbench.gateway.token_bucket import Rate
from workbench.gateway.validation import Limits

DIGEST = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A server behind the gateway."""

    name: str
    url: str
    weight: float = 1.0
    version: str | None = None
    """Of the model that it serves, where a rollout chooses between versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutConfig:
    """A new version that takes over step by step."""

    stable: str
    canary: str
    journal: str
    """File in which every step is written down before it is taken."""
    steps: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    least_requests: int = 200
    alpha: float = 0.01
    late_ttft_s: float = 1.0
    late_tpot_s: float = 0.05
    disagreement: float = 0.05
    model: str = "model"
    """Name under which both versions are served."""
    gold: str | None = None
    """File of questions (JSON lines with ``prompt``) that both versions are asked; None: answers are not compared."""
    gold_every_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Whoever has a key."""

    name: str
    key_digest: str
    """``sha256:`` and the hexadecimal digest of the key: `workbench gateway --hash-key` makes it. The key itself is nowhere."""
    requests_per_s: float = 10.0
    requests_at_once: float = 20.0
    tokens_per_s: float = 10_000.0
    tokens_at_once: float = 100_000.0
    weight: float = 1.0
    """Of its turns when requests wait."""

    def __post_init__(self) -> None:
        digest = self.key_digest.removeprefix(DIGEST)
        if not self.key_digest.startswith(DIGEST) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise InvalidSpec(
                f"The key_digest of {self.name} is none.", remedy="Make one with `workbench gateway --hash-key`."
            )
        for rate in (self.request_rate, self.token_rate):
            assert rate.per_s

    @property
    def request_rate(self) -> Rate:
        """Of requests."""
        return Rate(per_s=self.requests_per_s, burst=self.requests_at_once)

    @property
    def token_rate(self) -> Rate:
        """Of prompt and answer tokens together."""
        return Rate(per_s=self.tokens_per_s, burst=self.tokens_at_once)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """All of it; each part has its defaults."""

    upstreams: tuple[Upstream, ...]
    tenants: tuple[Tenant, ...] = ()
    """Without any, everybody may ask, and limits are by address."""
    anonymous: Tenant | None = None
    limits: Limits = field(default_factory=Limits)
    concurrency: LimitRule = field(default_factory=LimitRule)
    breaker: BreakerRule = field(default_factory=BreakerRule)
    degradation: tuple[Rung, ...] = ()
    """What is given up while requests wait too long."""
    rollout: RolloutConfig | None = None
    max_waiting: int = 256
    deadline_s: float = 10.0
    """A request that would begin later is refused at once, with the time after which it would not."""
    cache_bytes: int = 0
    """Of answers to greedy questions; 0 keeps none."""
    cache_ttl_s: float = 300.0
    body_timeout_s: float = 10.0
    """In which a request's body must have come."""
    answer_timeout_s: float = 300.0
    retry_share: float = 0.1
    prefix_characters: int = 256
    """First characters of a prompt that choose its replica; 0: the least loaded one."""
    redact: bool = False
    """Replace personal data and secrets in prompts and answers."""
    redis: str | None = None
    """URL of a Redis server in which several gateways keep their limits together; None: each has its own."""
    audit: str | None = None
    """File of one JSON line for each request, without prompts or keys."""


PARTS: dict[str, type[Any]] = {
    "limits": Limits,
    "concurrency": LimitRule,
    "breaker": BreakerRule,
    "anonymous": Tenant,
    "rollout": RolloutConfig,
}


def key_digest(key: str) -> str:
    """What stands in the file for a key."""
    return DIGEST + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def tenant_of(key: str, tenants: tuple[Tenant, ...]) -> Tenant | None:
    """Whose key this is; every tenant is compared, in constant time, so that the time says nothing."""
    digest = key_digest(key)
    found = None
    for tenant in tenants:
        if hmac.compare_digest(digest, tenant.key_digest):
            found = tenant
    return found


def read_config(file: Path) -> GatewayConfig:
    """Read a file; raises ``InvalidSpec`` with the place of what is wrong."""
    try:
        told = tomllib.loads(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSpec(
            f"{file} cannot be read: {error}.", remedy="Name a TOML file; --example prints one."
        ) from error
    return config_of(told)


def config_of(told: Mapping[str, Any]) -> GatewayConfig:
    """A configuration from plain values."""
    parts: dict[str, Any] = dict(told)
    upstreams = tuple(_made(Upstream, u, f"upstreams[{i}]") for i, u in enumerate(parts.pop("upstreams", [])))
    tenants = tuple(_made(Tenant, t, f"tenants[{i}]") for i, t in enumerate(parts.pop("tenants", [])))
    rungs = tuple(_made(Rung, r, f"degradation[{i}]") for i, r in enumerate(parts.pop("degradation", [])))
    if not upstreams:
        raise InvalidSpec("There are no upstreams.", remedy="Add [[upstreams]] with name and url.")
    for what, names in (("upstreams", [u.name for u in upstreams]), ("tenants", [t.name for t in tenants])):
        if len(set(names)) != len(names):
            raise InvalidSpec(f"Two {what} have the same name.", remedy="Give each a name of its own.")
    for name, kind in PARTS.items():
        if name in parts:
            values = parts[name]
            if kind is RolloutConfig and isinstance(values, Mapping) and isinstance(values.get("steps"), list):
                values = dict(values) | {"steps": tuple(values["steps"])}
            if kind is Tenant and isinstance(values, Mapping):
                values = {"name": "anonymous", "key_digest": key_digest("")} | dict(values)
            parts[name] = _made(kind, values, name)
    made: GatewayConfig = _made(
        GatewayConfig, parts | {"upstreams": upstreams, "tenants": tenants, "degradation": rungs}, "the file"
    )
    if made.rollout is not None:
        missing = {made.rollout.stable, made.rollout.canary} - {u.version for u in upstreams}
        if missing:
            raise InvalidSpec(
                f"No upstream has the version {', '.join(sorted(missing))}.",
                remedy="Give each of [[upstreams]] its version.",
            )
    return made


def _made(kind: type[Any], values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InvalidSpec(f"{where} is not a table.", remedy="See --example.")
    known = {f.name for f in fields(kind)}
    if extra := sorted(set(values) - known):
        raise InvalidSpec(
            f"{where} has unknown fields {', '.join(extra)}.", remedy=f"Known: {', '.join(sorted(known))}."
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidSpec(f"{where}: {error}.", remedy="See --example.") from error
