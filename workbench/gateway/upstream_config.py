"""Configuration of one server behind the gateway, and its key, which stands in the environment or a file."""

import os
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from urllib.parse import urlsplit

from workbench.core.errors import InvalidSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A server behind the gateway, with its share of the load."""

    name: str
    url: str
    weight: float = 1.0
    version: str | None = None
    """Version of the model that it serves, where a rollout chooses between versions."""
    key_env: str | None = None
    """Environment variable that holds the key which the server requires."""
    key_file: str | None = None
    """File that holds the key which the server requires, read at the start and at every reload."""
    health_path: str = "/health"

    def __post_init__(self) -> None:
        require_positive(self, "weight")
        if self.key_env and self.key_file:
            raise InvalidSpec(f"{self.name} has key_env and key_file.", remedy="Give one of them.")

    def require_url(self) -> None:
        """Raise ``InvalidSpec`` for a URL that is not one of HTTP."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSpec(
                f"The url of {self.name} is {self.url!r}.", remedy="Give one such as http://localhost:8000."
            )

    def key(self) -> str | None:
        """Return the key of the server, or None; raises ``InvalidSpec`` where it cannot be read."""
        if self.key_env is not None:
            key = os.environ.get(self.key_env, "").strip()
            where = f"the environment variable {self.key_env}"
        elif self.key_file is not None:
            file = Path(self.key_file).expanduser()
            try:
                key, where = file.read_text(encoding="utf-8").strip(), str(file)
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidSpec(f"The key of {self.name} cannot be read: {error}.", remedy="Name a file.") from error
        else:
            return None
        if not key or not key.isprintable() or not key.isascii():
            raise InvalidSpec(f"The key of {self.name} in {where} is empty or no key.", remedy="Write the key there.")
        return key


def require_positive(part: object, *names: str) -> None:
    """Raise ``InvalidSpec`` where a number of a part of the configuration is not finite and above zero."""
    for name in names:
        value = getattr(part, name)
        if not (value > 0 and isfinite(value)):
            who = f" of {owner}" if (owner := getattr(part, "name", None)) else ""
            raise InvalidSpec(f"{name}{who} is {value}.", remedy="Give a finite number above zero.")
