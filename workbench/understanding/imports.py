"""torch and transformers imported to ask one model: without torch's compiler and without optional packages.

More than half of the time of importing transformers goes to packages that no class needs to be built and to fill a
cache. Only a process that asks one model and ends may do this: other code would miss what is left out.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import os
import sys
import types
from collections.abc import Callable, Iterator

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
OPTIONAL = ("sklearn", "scipy", "torchao", "accelerate")
"""Packages that transformers imports where they are installed: for generation, quantization and training."""
COMPILER = "torch._dynamo"
INDEXING = f"{COMPILER}._trace_wrapped_higher_order_op"
DECORATORS = frozenset({"allow_in_graph", "assume_constant_result", "disable", "mark_static_address"})
"""What imports, operations and caches use of the compiler: each returns what it is given."""
MODULES = (
    "transformers",
    *(f"transformers.{m}" for m in ("models.auto.modeling_auto", "modeling_utils", "cache_utils")),
)


class CompilerNeeded(BaseException):
    """A class calls the compiler itself. No class of transformers catches this."""


class _StandIn(types.ModuleType):
    """Stands for the compiler where only its decorators are used."""

    def __getattr__(self, name: str) -> object:
        if name in DECORATORS:
            return _undecorated
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        raise CompilerNeeded(name)


def import_for_asking() -> None:
    """Import torch and transformers without the compiler and without optional packages."""
    os.environ.update(OFFLINE)
    gc.disable()  # nothing that an import makes is freed before the end, and looking for it takes a tenth of the time
    sys.modules |= dict.fromkeys(OPTIONAL)  # type: ignore[arg-type]
    torch = importlib.import_module("torch")
    torch.distributed.is_available = bool  # says no
    indexing = types.ModuleType(INDEXING)
    indexing.TransformGetItemToIndex = _indexing_needed  # type: ignore[attr-defined]
    sys.modules |= {COMPILER: _StandIn(COMPILER), INDEXING: indexing}
    with _no_names_of_distributions():
        for name in MODULES:
            try:
                importlib.import_module(name)
            except CompilerNeeded:  # a version that uses more of it
                put_compiler_back()
                importlib.import_module(name)


def put_compiler_back() -> None:
    """Let what is imported from now on find the compiler itself."""
    if isinstance(sys.modules.get(COMPILER), _StandIn):
        del sys.modules[COMPILER], sys.modules[INDEXING]


def _undecorated(function: Callable[..., object] | None = None, *_: object, **__: object) -> Callable[..., object]:
    """Return a function as it is, or the decorator that does."""
    return function if function is not None else lambda later: later


def _indexing_needed() -> None:
    raise CompilerNeeded(INDEXING)


@contextlib.contextmanager
def _no_names_of_distributions() -> Iterator[None]:
    """Spare reading the list of files of every installed package: those that are asked for carry their own names."""
    own = importlib.metadata.packages_distributions
    importlib.metadata.packages_distributions = dict
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = own
