"""Keys, passwords and values of headers: passed on in the environment of this process and its children, never in a spec, a run or a text.

A spec names a header or a part of a URL; its value is looked up here when a request is made. Whatever a server answers is searched for
these values before it is shown or stored.
"""

import base64
import json
import os
import re
from collections.abc import Iterable
from urllib.parse import quote

from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

VARIABLE = "WORKBENCH_CREDENTIALS"
"""Environment variable that hands the values on to child processes, as a JSON object."""
HIDDEN = "***"
SECRET_NAME = re.compile(r"key|token|secret|sig|pass|pwd|auth|code|cred|bearer|session", re.IGNORECASE)
SHORTEST = 4  # a shorter value would blot out ordinary words


def hide(name: str, value: str) -> None:
    """Keep a value under a name for requests of this process and of those that it starts."""
    os.environ[VARIABLE] = json.dumps(_all() | {name: value})


def hidden(name: str) -> str | None:
    """Return the value kept under a name; None where there is none."""
    return _all().get(name)


def _all() -> dict[str, str]:
    try:
        values = json.loads(os.environ.get(VARIABLE) or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def api_key(variable: str) -> str:
    """Return the key in an environment variable, without blanks around it; "" where there is none.

    Raises:
        InvalidSpec: A key with a line break inside, or anything else that no header can carry.
    """
    key = os.environ.get(variable, "").strip()
    if not is_header_value(key):
        raise InvalidSpec(
            gettext(
                "The key in {variable} holds a line break or another character that no HTTP header can carry."
            ).format(variable=variable),
            remedy=gettext("Set {variable} again: one line of plain characters.").format(variable=variable),
        )
    return key


def is_header_value(value: str) -> bool:
    """Return whether a header can carry a value: printable characters of Latin-1 (RFC 9110, section 5.5)."""
    return all(c == "\t" or " " <= c <= "~" or "\xa0" <= c <= "\xff" for c in value)


def basic(user_and_password: str) -> str:
    """Return the value of an ``Authorization`` header for a user and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def forms(values: Iterable[str]) -> tuple[str, ...]:
    """Return the forms in which secret values could turn up in a text, the longest first."""
    found: set[str] = set()
    for value in values:
        parts = {value, *value.splitlines(), *value.split()} | ({value.partition(":")[2]} if ":" in value else set())
        if ":" in value:
            parts.add(basic(value).removeprefix("Basic "))
        for part in parts - {"Bearer", "Basic"}:
            if len(part) >= SHORTEST:
                found |= {part, quote(part, safe=""), json.dumps(part)[1:-1]}
    return tuple(sorted(found, key=len, reverse=True))


def all_forms(*variables: str) -> tuple[str, ...]:
    """Return the forms of everything that is kept here and of the keys in some environment variables."""
    return forms([*_all().values(), *(os.environ.get(v, "") for v in variables)])


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text with each of the forms blotted out."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text
