"""Which rule propagates channels through which ATen operator."""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from eyas.pruning.tracing.call import Call

Rule = Callable[["Call"], Any]
"""Takes a call of an operator; returns its output: a Value, a list of them, or None for what is no tensor."""

_RULES: dict[str, Rule] = {}


class UnsupportedForm(Exception):  # noqa: N818 - no error: what enters the operator freezes, for the reason it carries
    """A rule meets its operator in a form that it does not follow; the message completes "is not understood"."""


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operators, named without namespace, overload and trailing underscore.

    Raises:
        TypeError: there is no such operator, or it has a rule.
    """

    def register(function: Rule) -> Rule:
        for name in names:
            if not _is_operator(name):
                msg = f"a rule for {name!r} in {function.__module__}: ATen has no such operator"
                raise TypeError(msg)
            if name in _RULES:
                msg = f"two rules for operator {name!r}: {_RULES[name].__module__} and {function.__module__}"
                raise TypeError(msg)
            _RULES[name] = function
        return function

    return register


def _is_operator(name: str) -> bool:
    """Whether ATen, or the namespace before ``::``, has an operator of this name, out of place or in place."""
    namespace, _, plain = name.rpartition("::")
    operators = getattr(torch.ops, namespace or "aten")
    return hasattr(operators, plain) or hasattr(operators, f"{plain}_")


def operator_name(target: Any) -> str:
    """``aten::relu_`` (any overload) becomes ``relu``; other namespaces keep theirs."""
    schema = getattr(target, "_schema", None)
    full = schema.name if schema is not None else getattr(target, "__name__", str(target))
    name = str(full).removeprefix("aten::")
    return name.rstrip("_") if not name.startswith("_") else name


def find_rule(target: Any) -> Rule | None:
    """The rule for an operator; every operator tagged pointwise falls under the elementwise rule."""
    _load()
    registered = _RULES.get(operator_name(target))
    if registered is None and torch.Tag.pointwise in getattr(target, "tags", ()):
        return _RULES["add"]
    return registered


@cache
def _load() -> None:
    """Import every ``rules_*`` module of this package, so that its rules register themselves."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name.startswith("rules_"):
            importlib.import_module(f"{__package__}.{module.name}")
