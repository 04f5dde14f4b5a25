"""Networks from a factory's name: one that the user gives, or one that a file names (from allowed packages only)."""

import importlib
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from eyas.errors import EyasError, ParameterError

NESTING = ("eyas.networks.pruned_architecture:build", "eyas.networks.operated_network:build")
"""Factories that build another network by its factory's name first: what the caller allows holds for that one, too."""
ALLOWED = ("models", *NESTING)
"""What needs no permission; no module of ``eyas`` as a whole, since some functions import what they are told."""
MOVED = {"eyas.pruned:build": "eyas.networks.pruned_architecture:build"}
"""Factories that saved networks may still name by where they once stood."""
ANYWHERE = ("*",)
"""To be passed as ``allowed`` where the record is one's own: a factory from any package is imported."""
VARIABLE = "EYAS_ARCHITECTURES"
"""Environment variable that names further packages, comma separated."""


@dataclass(frozen=True)
class Architecture:
    """How to build a network again: ``factory(**arguments)``, with the factory as ``package.module:name``."""

    factory: str
    arguments: dict[str, Any]


def build_architecture(
    architecture: str, arguments: Mapping[str, Any], allowed: Sequence[str] | None = None
) -> nn.Module:
    """Call the factory ``package.module:name`` with ``arguments``.

    Args:
        architecture: module and attribute, such as ``models:build`` or ``torchvision.models:resnet50``.
        arguments: keyword arguments.
        allowed: packages whose own factories may be called, or single factories, ``package.module:factory``; by
            default ``models``, pruned networks and those in ``EYAS_ARCHITECTURES``; :data:`ANYWHERE` permits all.

    Raises:
        ParameterError: the name is malformed, not allowed, not found, not callable, or does not
            build a module; what the factory raises is told.
    """
    architecture = current_factory(architecture)
    module_name, _, name = architecture.partition(":")
    if not module_name or not name.isidentifier():
        msg = f"architecture {architecture!r} must read package.module:factory, such as models:build"
        raise ParameterError(msg)
    permitted = _permitted(allowed)
    if architecture in NESTING:
        arguments = {**arguments, "allowed": allowed}
    if allowed == ANYWHERE or architecture in permitted:
        return _call(_import_factory(architecture), arguments, architecture)
    if not _is_inside(module_name, permitted):
        msg = (
            f"architecture {architecture!r} is not in an allowed package ({', '.join(permitted)}); to allow "
            f"it, pass allowed=... or set {VARIABLE}={module_name.partition('.')[0]}"
        )
        raise ParameterError(msg)
    factory = _import_factory(architecture)
    home = str(getattr(getattr(factory, "func", factory), "__module__", None))
    if not _is_inside(home, permitted):
        msg = (
            f"architecture {architecture!r} is of {home}, which {module_name} only imports and which is no allowed "
            f"package ({', '.join(permitted)}); to allow it, pass allowed=({architecture!r},)"
        )
        raise ParameterError(msg)
    return _call(factory, arguments, architecture)


def find_architecture(name: str, arguments: Mapping[str, Any], num_classes: int) -> Architecture:
    """The factory and arguments that ``name`` stands for.

    ``package.module:factory`` stands for itself; any other ``name`` is one of the checkout's ``models`` folder.
    """
    if ":" in name:
        return Architecture(name, {"num_classes": num_classes, **arguments})
    return Architecture("models:build", {"num_classes": num_classes, **arguments, "name": name})


def build_model(architecture: str, arguments: Mapping[str, Any], num_classes: int, *, seed: int = 0) -> nn.Module:
    """A network with fresh weights drawn from ``seed``; the global generators stay as they were.

    Args:
        architecture: a name in ``models/``, or ``package.module:factory``; the caller vouches for it.
        arguments: passed to the factory beside ``num_classes``.
        num_classes: number of logits; one among ``arguments`` goes first.
        seed: of the initial weights.

    Raises:
        ParameterError: the factory does not exist, or does not take the arguments.
    """
    named = find_architecture(architecture, arguments, num_classes)
    factory, inner = _import_factory(named.factory), {}
    if current_factory(named.factory) in NESTING:
        inner = {"allowed": ANYWHERE}
    with seeded(seed):
        return _call(factory, {**named.arguments, **inner}, architecture)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that a factory may draw from: torch's, numpy's, Python's; all are restored."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)  # noqa: NPY002


def current_factory(architecture: str) -> str:
    """``architecture`` by the name that it has today."""
    return MOVED.get(architecture, architecture)


def _import_factory(reference: str) -> Callable[..., Any]:
    """The object behind ``package.module:name``."""
    module_name, _, attribute = current_factory(reference).partition(":")
    try:
        factory: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError, ValueError) as error:
        msg = (
            f"architecture {reference!r} cannot be imported: {error}; give a name in models/, or "
            "package.module:factory with the module on PYTHONPATH"
        )
        raise ParameterError(msg) from error
    if not callable(factory):
        msg = f"architecture {reference!r} is a {type(factory).__name__}: name a function or class that builds one"
        raise ParameterError(msg)
    return cast("Callable[..., Any]", factory)


def _call(factory: Callable[..., Any], arguments: Mapping[str, Any], architecture: str) -> nn.Module:
    """The module that a factory builds; ``architecture`` is what the user calls it."""
    try:
        model = factory(**arguments)
    except EyasError:
        raise
    except Exception as error:  # the factory is the user's: whatever it raises is about its arguments
        msg = (
            f"architecture {architecture!r} with arguments {dict(arguments)} did not build: "
            f"{type(error).__name__}: {error}"
        )
        raise ParameterError(msg) from error
    if not isinstance(model, nn.Module):
        msg = f"architecture {architecture!r} built a {type(model).__name__}, not an nn.Module"
        raise ParameterError(msg)
    return model


def _is_inside(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages, or within one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _permitted(allowed: Sequence[str] | None) -> tuple[str, ...]:
    """Allowed packages and factories without trailing dots."""
    if allowed is None:
        allowed = (*ALLOWED, *os.environ.get(VARIABLE, "").split(","))
    return tuple(prefix.strip().rstrip(".:") for prefix in allowed if prefix.strip())
