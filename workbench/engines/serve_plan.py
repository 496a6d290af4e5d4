"""How a model is to be served, in words that every engine has."""

from dataclasses import dataclass
from typing import Literal, get_args

from workbench.core.checks import require_positive
from workbench.core.errors import InvalidSpec
from workbench.core.language import gettext

Dtype = Literal["auto", "bfloat16", "float16"]
KvCache = Literal["auto", "fp8"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """One server: the launch commands of all engines are made from it."""

    model: str
    """Folder or hub id."""
    port: int = 8000
    n_gpus: int = 1
    """Tensor-parallel GPUs; 0 is the CPU."""
    max_tokens: int | None = None
    """Longest prompt and answer together; None: what the model allows."""
    dtype: Dtype = "auto"
    kv_cache: KvCache = "auto"

    def __post_init__(self) -> None:
        require_positive(self, "port")
        for name, allowed in (("dtype", get_args(Dtype)), ("kv_cache", get_args(KvCache))):
            if getattr(self, name) not in allowed:
                raise InvalidSpec(
                    gettext("{place} is {value}.").format(place=name, value=repr(getattr(self, name))),
                    remedy=gettext("Choose from: {names}.").format(names=", ".join(allowed)),
                )
        if self.n_gpus < 0 or (self.max_tokens is not None and self.max_tokens < 1):
            raise InvalidSpec(
                gettext("A plan needs GPUs of 0 or more, and more than 0 tokens."),
                remedy=gettext("Correct the numbers."),
            )
