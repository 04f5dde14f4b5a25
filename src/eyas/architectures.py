"""Import a network's factory by name, from allowed packages only."""

import importlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from eyas.errors import EyasError, ParameterError

ALLOWED = ("models", "eyas.pruned")
"""Packages that need no permission; not all of ``eyas``, where some functions import what they are told."""
VARIABLE = "EYAS_ARCHITECTURES"
"""Environment variable that names further packages, comma separated."""


def build_architecture(
    architecture: str, arguments: Mapping[str, Any], allowed: Sequence[str] | None = None
) -> nn.Module:
    """Call the factory ``package.module:name`` with ``arguments``.

    Args:
        architecture: module and attribute, such as ``models:build`` or ``torchvision.models:resnet50``.
        arguments: keyword arguments.
        allowed: packages to import from; by default ``models``, ``eyas.pruned`` and those in ``EYAS_ARCHITECTURES``.

    Raises:
        ParameterError: the name is malformed, not allowed, not found, not callable, or does not
            build a module; what the factory raises is told.
    """
    module_name, _, name = architecture.partition(":")
    if not module_name or not name.isidentifier():
        msg = f"architecture {architecture!r} must read package.module:factory, such as models:build"
        raise ParameterError(msg)
    permitted = _permitted(allowed)
    if not any(module_name == prefix or module_name.startswith(f"{prefix}.") for prefix in permitted):
        msg = (
            f"architecture {architecture!r} is not in an allowed package ({', '.join(permitted)}); to allow "
            f"it, pass allowed=... or set {VARIABLE}={module_name.partition('.')[0]}"
        )
        raise ParameterError(msg)
    try:
        factory = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        msg = f"architecture {architecture!r} cannot be imported: {error}"
        raise ParameterError(msg) from error
    if not callable(factory):
        msg = f"architecture {architecture!r} is a {type(factory).__name__}: name a function or class that builds one"
        raise ParameterError(msg)
    try:
        model = factory(**arguments)
    except EyasError:
        raise
    except Exception as error:  # the factory is the user's: whatever it raises is about what it was given
        msg = (
            f"architecture {architecture!r} with arguments {dict(arguments)} did not build: "
            f"{type(error).__name__}: {error}"
        )
        raise ParameterError(msg) from error
    if not isinstance(model, nn.Module):
        msg = f"architecture {architecture!r} built a {type(model).__name__}, not an nn.Module"
        raise ParameterError(msg)
    return model


def _permitted(allowed: Sequence[str] | None) -> tuple[str, ...]:
    """Allowed packages without trailing dots."""
    if allowed is None:
        allowed = (*ALLOWED, *os.environ.get(VARIABLE, "").split(","))
    return tuple(prefix.strip().rstrip(".:") for prefix in allowed if prefix.strip())
