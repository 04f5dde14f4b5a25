"""One operator of a graph, as the rules see it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from eyas.pruning.tracing.rule_registry import UnsupportedForm, operator_name
from eyas.pruning.tracing.state import Attribute, Term, Trace
from eyas.pruning.tracing.union_find import Ids
from eyas.pruning.tracing.values import Value


@dataclass(frozen=True)
class Call:
    """One operator of the graph with its arguments by schema name; tensors are values."""

    trace: Trace
    node: fx.Node
    arguments: dict[str, Any]
    outputs: Any
    """The output's shape (a tuple), or a list of them."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def optional(self, name: str) -> Any:
        """An argument that not every overload of the operator has; None where this one has none.

        Raises:
            KeyError: no overload has an argument of this name.
        """
        if name not in _names_of_arguments(self.node.target.overloadpacket):  # type: ignore[union-attr]
            raise KeyError(name)
        return self.arguments.get(name)

    def value(self, name: str) -> Value:
        """A tensor argument, named as in the operator's schema.

        Raises:
            UnsupportedForm: it is no tensor here.
        """
        argument = self.arguments[name]
        if not isinstance(argument, Value):
            msg = f"where its {name} is no tensor"
            raise UnsupportedForm(msg)
        return argument

    @property
    def first(self) -> Value:
        """The first tensor among the arguments, whatever its name."""
        return self.tensors(1)[0]

    def tensors(self, count: int) -> list[Value]:
        """The first ``count`` tensors among the arguments.

        Raises:
            UnsupportedForm: there are fewer.
        """
        values = self.values()
        if len(values) < count:
            msg = f"of fewer than {count} tensors"
            raise UnsupportedForm(msg)
        return values[:count]

    @property
    def operator(self) -> str:
        """The operator's plain name."""
        return operator_name(self.node.target)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the only output.

        Raises:
            UnsupportedForm: there are several.
        """
        if isinstance(self.outputs, list):
            msg = "where it returns several tensors"
            raise UnsupportedForm(msg)
        return tuple(self.outputs)

    @property
    def module(self) -> str:
        """Path of the innermost module the operator was called in."""
        return module_of(self.node)

    @property
    def code(self) -> str:
        """The user's line of code, with file and line number."""
        return user_line(str(self.node.meta.get("stack_trace") or "")) or self.operator

    @property
    def place(self) -> str:
        """For messages: the module and the line of code."""
        return f"in {self.module or 'the model'}: {self.code}"

    def values(self) -> list[Value]:
        """All tensors among the arguments."""
        return list(values_in(self.arguments.values()))

    def unite(self, first: Ids, second: Ids) -> None:
        """Tie two arrays of ids index by index; an id that meets a fixed entry is frozen with this place."""
        first, second = np.broadcast_arrays(first, second)
        lone = (first >= 0) != (second >= 0)
        if lone.any():
            met = np.where(first >= 0, first, second)[lone]
            self.freeze(met, f"{self.operator} combines its channels with a tensor of fixed size")
        both = (first >= 0) & (second >= 0)
        self.trace.channels.unite(first[both], second[both])

    def freeze(self, ids: Ids, why: str) -> None:
        """Freeze ``ids``; the reason is completed by the place."""
        self.trace.channels.freeze(ids, f"{why} ({self.place})")

    def attribute(self, name: str, ids: Ids, divisor: int = 1) -> None:
        """Let an integer attribute of the innermost module follow the channels, where it does so now.

        Raises:
            AttributeError: neither that module nor a layer of torch (whose function it may call) has such an attribute.
        """
        module = self.trace.modules.get(self.module)
        value = getattr(module, name, None) if name in _layer_constants() else getattr(module, name)
        if isinstance(value, int) and not isinstance(value, bool) and value == len(ids) // divisor:
            self.trace.attributes[self.module, name] = Attribute(self.module, name, ids, divisor)

    def count(self, terms: list[Term], coefficient: int, factors: Sequence[Ids]) -> None:
        """Add a term to a cost, unless this graph only adds what the first one did not reach."""
        if self.trace.counting:
            terms.append(Term(coefficient, tuple(factors), self.node))


@cache
def _names_of_arguments(packet: Any) -> frozenset[str]:
    """Names of the arguments of all overloads of an operator."""
    schemas = [getattr(packet, overload)._schema for overload in packet.overloads()]
    return frozenset(argument.name for schema in schemas for argument in schema.arguments)


@cache
def _layer_constants() -> frozenset[str]:
    """Names of the sizes and options of torch's layers."""
    layers = [layer for layer in vars(nn).values() if isinstance(layer, type)]
    return frozenset(name for layer in layers for name in getattr(layer, "__constants__", ()))


def module_of(node: fx.Node) -> str:
    """Path of the innermost module that a node was called in."""
    stack = node.meta.get("nn_module_stack") or {}
    path = str(next(reversed(stack.values()))[0]) if stack else ""
    return re.sub(r"@\d+$", "", path)


def unknown(call: Call, detail: str = "") -> Any:
    """Freeze everything that enters; what comes out has a fixed size."""
    for value in call.values():
        call.freeze(value.ids(), f"operator {call.operator} is not understood{detail}")
    return fixed_output(call.node)


def values_in(items: Any) -> Iterator[Value]:
    """All values in nested lists and dictionaries."""
    for item in items:
        if isinstance(item, Value):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from values_in(item)
        elif isinstance(item, dict):
            yield from values_in(item.values())


def fixed_output(node: fx.Node) -> Any:
    """A value without labels for what a node produces."""

    def convert(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return Value(tuple(int(size) for size in value.shape), {}, value.element_size())
        if isinstance(value, (list, tuple)):
            return [convert(item) for item in value]
        return None

    return convert(node.meta.get("val"))


def user_line(stack_trace: str) -> str:
    """The last frame outside torch itself: ```code` (file:line)``."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', stack_trace)
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    if not own:
        return ""
    path, line, code = own[-1]
    return f"`{code.strip()}` ({path.rsplit('/', 1)[-1]}:{line})"
