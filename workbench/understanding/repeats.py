"""Layers that are like an earlier one, and need not run to know what they keep."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

PLACE = "layer_idx"
"""Attribute by which a layer finds its part of the cache; nothing else of it may differ from the earlier layer."""


@dataclass(slots=True)
class _Once:
    """The first layer of its kind: it runs, and the layers like it return what it returned."""

    forward: Callable[..., object]
    returned: list[object] = field(default_factory=list)

    def run(self, *args: object, **kwargs: object) -> object:
        """Return what the layer returns, and remember it."""
        self.returned[:] = [self.forward(*args, **kwargs)]
        return self.returned[0]

    def repeat(self, *_: object, **__: object) -> object:
        """Return what the layer returned last."""
        return self.returned[0]


@contextlib.contextmanager
def each_kind_once(model: torch.nn.Module) -> Iterator[Mapping[int, int]]:
    """Let one layer of each kind run; yield the place of the layer that stands for each other one, by its place."""
    first: dict[object, tuple[int, _Once]] = {}
    stands_for: dict[int, int] = {}
    changed = []
    for layer in model.modules():
        place = _place(layer) if isinstance(layer, GradientCheckpointingLayer) else None
        if place is None:
            continue
        kind = _kind(layer)
        changed.append(layer)
        if kind in first:
            stands_for[place], once = first[kind]
            layer.forward = once.repeat
        else:
            once = _Once(layer.forward)
            first[kind] = place, once
            layer.forward = once.run
    try:
        yield stands_for
    finally:
        for layer in changed:
            del layer.forward


def _place(layer: torch.nn.Module) -> int | None:
    """Return the place of a layer in the cache; None where it has none or more than one."""
    places = {vars(module)[PLACE] for module in layer.modules() if PLACE in vars(module)}
    place = places.pop() if len(places) == 1 else None
    return place if isinstance(place, int) else None


def _kind(layer: torch.nn.Module) -> object:
    """Return what two layers that do the same have in common: classes, settings and shapes of all their parts."""
    return tuple(
        (name, type(module), _settings(module), tuple((key, p.shape, p.dtype) for key, p in _own_tensors(module)))
        for name, module in layer.named_modules()
    )


def _own_tensors(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(recurse=False)
    yield from module.named_buffers(recurse=False)


def _settings(module: torch.nn.Module) -> tuple[tuple[str, object], ...]:
    """Return the attributes of a module but its place; what is no plain value is the same where it is one object."""
    return tuple(
        (key, _comparable(value))
        for key, value in sorted(vars(module).items())
        if not key.startswith("_") and key not in {PLACE, "forward"}
    )


def _comparable(value: object) -> object:
    if isinstance(value, bool | int | float | str | None):
        return value
    return repr(value) if isinstance(value, tuple | list | dict | functools.partial) else id(value)
