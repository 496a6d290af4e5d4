"""Files and lists of the model hub: from its cache on this machine, else from the network within a short time."""

import logging
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from workbench.core.errors import NotAvailable
from workbench.core.language import gettext

T = TypeVar("T")
LIMIT_S = 2.0
"""Until the hub must have answered, looking up its address included; a name that it does not have is answered sooner."""
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def is_hub_name(name: str) -> bool:
    """Return whether a name has the form of the hub's: an owner, a slash and a repository."""
    return NAME.fullmatch(name) is not None and ".." not in name


def is_offline() -> bool:
    """Return whether the environment forbids to ask the hub."""
    return any(os.environ.get(name, "").lower() in {"1", "true", "yes", "on"} for name in OFFLINE)


def hub_config(name: str, *, limit_s: float = LIMIT_S) -> bytes:
    """Return the config.json of a model of the hub: as cached on this machine, else downloaded.

    Raises:
        NotAvailable: It is not cached, and the hub may not be asked, does not answer in time or does not give it.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return Path(cached).read_bytes()
    return Path(_asked(lambda: str(hf_hub_download(name, "config.json")), limit_s=limit_s)).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A model that the hub lists."""

    name: str
    tags: tuple[str, ...]
    n_bytes: int | None
    """Of its weights, as the hub counts them; None where it does not."""


def hub_quantized(name: str, *, limit_s: float = LIMIT_S) -> list[HubModel]:
    """Return the models that the hub lists as quantized from another; raises ``NotAvailable``, see ``hub_config``."""
    from huggingface_hub import HfApi

    def listed() -> list[HubModel]:
        found = HfApi().list_models(
            filter=f"base_model:quantized:{name}", sort="downloads", limit=40, expand=["safetensors", "tags"]
        )
        return [
            HubModel(name=str(m.id), tags=tuple(m.tags or ()), n_bytes=_bytes(getattr(m, "safetensors", None)))
            for m in found
        ]

    return _asked(listed, limit_s=limit_s)


BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Of the number types that safetensors names; all others have one byte."""


def _bytes(counted: object) -> int | None:
    """Return the bytes of the tensors that the hub counted by type; None where it did not."""
    by_type = getattr(counted, "parameters", None)
    if not isinstance(by_type, dict) or not by_type:
        return None
    return sum(int(n) * BYTES.get(str(kind), 1) for kind, n in by_type.items())


def _asked(call: Callable[[], T], *, limit_s: float) -> T:
    """Return what a call to the hub returns; raises ``NotAvailable`` where it fails or takes too long.

    It runs in a thread that is left behind after the limit, because looking up an address cannot be interrupted.
    """
    if is_offline():
        raise NotAvailable(
            gettext("the environment forbids to ask the hub"),
            remedy=gettext("Unset {names}.").format(names=gettext(" and ").join(OFFLINE)),
        )
    answers: list[T] = []
    errors: list[Exception] = []

    def ask() -> None:
        log = logging.getLogger("huggingface_hub")
        level = log.level
        log.setLevel(logging.ERROR)  # it would print each attempt, long after the answer was given up
        try:
            answers.append(call())
        except Exception as error:
            errors.append(error)
        finally:
            log.setLevel(level)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(limit_s)
    if answers:
        return answers[0]
    if errors:
        lines = str(errors[0]).strip().splitlines() or [type(errors[0]).__name__]
        raise NotAvailable(
            gettext("the hub does not give it: {reason}").format(reason=f"{lines[0]:.160}"),
            remedy=gettext("Check the name and the network."),
        )
    raise NotAvailable(
        gettext("the hub did not answer within {seconds} s").format(seconds=f"{limit_s:g}"),
        remedy=gettext("Check the network."),
    )
