"""Names of architectures, and the functions that build them."""

from collections.abc import Callable
from typing import Any

from torch import nn

Factory = Callable[..., nn.Module]
_FACTORIES: dict[str, Factory] = {}


def architecture(factory: Factory) -> Factory:
    """Register ``factory(num_classes, **arguments)`` under its own name."""
    name = factory.__name__
    if name in _FACTORIES:
        msg = f"architecture {name!r} is defined twice: {_FACTORIES[name].__module__} and {factory.__module__}"
        raise TypeError(msg)
    _FACTORIES[name] = factory
    return factory


def names() -> list[str]:
    """Every architecture that :func:`build` knows, sorted."""
    return sorted(_FACTORIES)


def build(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    """A network with fresh weights, in train mode, on the CPU.

    Args:
        name: one of :func:`names`.
        num_classes: number of logits.
        **arguments: what the architecture takes beside it (``width``, ``in_channels``, ...).

    Raises:
        ValueError: no such architecture; the message lists what exists.
        TypeError: an argument the architecture does not take.
    """
    if name not in _FACTORIES:
        msg = f"unknown architecture {name!r}; models/ has {', '.join(names())}"
        raise ValueError(msg)
    return _FACTORIES[name](num_classes, **arguments)
