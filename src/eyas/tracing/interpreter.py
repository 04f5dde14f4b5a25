"""Walk an exported graph and carry channel ids along its edges."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from eyas.tracing.capture import Captured
from eyas.tracing.registry import Rule, find_rule, operator_name
from eyas.tracing.units import Ids, Slot, Units
from eyas.tracing.values import Value


@dataclass(frozen=True)
class Attribute:
    """An integer attribute of a module that follows the channels: kept entries of ``ids`` // ``divisor``."""

    module: str
    name: str
    ids: Ids
    divisor: int = 1


@dataclass(frozen=True)
class Term:
    """``coefficient`` times the product of the kept entries of each array of ids."""

    coefficient: int
    factors: tuple[Ids, ...]


@dataclass
class Trace:
    """All that interpreting the captured graphs of one network has found."""

    model: nn.Module
    choices: Mapping[str, int] = field(default_factory=dict)
    """For a line of code whose meaning is ambiguous: which reading to take (0, the first, by default)."""
    units: Units = field(default_factory=Units)
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    attributes: dict[tuple[str, str], Attribute] = field(default_factory=dict)
    sites: dict[str, tuple[int, list[Ids]]] = field(default_factory=dict)
    """Ambiguous lines of code: number of readings, ids that pass there."""
    touched: list[tuple[str, Ids]] = field(default_factory=list)
    """Innermost module of each operator and the ids of its output."""
    squeezed: list[Ids] = field(default_factory=list)
    """Ids along dimensions that a bare ``squeeze()`` would drop if one channel were left."""
    macs: list[Term] = field(default_factory=list)
    activations: list[Term] = field(default_factory=list)
    clock: int = 0

    def __post_init__(self) -> None:
        self.modules = dict(self.model.named_modules(remove_duplicate=False))
        self.names = canonical_names(self.model)
        self.tensors = named_tensors(self.model)
        self.counting = True
        self._starts: dict[int, Slot] = {}

    def tensor(self, name: str) -> Value:
        """The value of a parameter or buffer; each of its dimensions has ids of its own."""
        name = self.names.get(name, name)
        tensor = self.tensors[name]
        if name not in self.slots:
            self.slots[name] = [Slot(name, dim, self.units.new(size)) for dim, size in enumerate(tensor.shape)]
            self._starts.update({int(slot.ids[0]): slot for slot in self.slots[name] if len(slot.ids)})
        labels = {slot.dim: slot.ids for slot in self.slots[name]}
        shape = tuple(tensor.shape)
        return Value(shape, {}, tensor.element_size()).relabel(shape, labels)

    def mark(self, ids: Ids, role: str) -> None:
        """Give the parameter dimension behind fresh ``ids`` its role, and its place in the order."""
        self.clock += 1
        for slot in self._slots_of(ids):
            slot.role = slot.role or role
            slot.order = slot.order if slot.order >= 0 else self.clock

    def is_parameter(self, ids: Ids) -> bool:
        """Whether ``ids`` are those of a parameter's dimension."""
        return bool(self._slots_of(ids))

    def _slots_of(self, ids: Ids) -> list[Slot]:
        found = self._starts.get(int(ids[0])) if len(ids) else None
        return [found] if found is not None and np.array_equal(found.ids, ids) else []

    def site(self, call: "Call", readings: int, ids: Ids) -> int:
        """The reading chosen for an ambiguous line of code that ``ids`` pass through."""
        known, passing = self.sites.get(call.code, (0, []))
        self.sites[call.code] = (max(known, readings), [*passing, ids])
        return self.choices.get(call.code, 0)


@dataclass(frozen=True)
class Call:
    """One operator of the graph with its arguments by schema name; tensors are values."""

    trace: Trace
    node: fx.Node
    arguments: dict[str, Any]
    outputs: Any
    """The output's shape (a tuple), or a list of them."""

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    def value(self, name: str) -> Value:
        """A tensor argument."""
        found = self.arguments[name]
        assert isinstance(found, Value), f"{self.operator}: {name} is no tensor"
        return found

    @property
    def operator(self) -> str:
        """The operator's plain name."""
        return operator_name(self.node.target)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the only output."""
        return tuple(self.outputs)

    @property
    def module(self) -> str:
        """Path of the innermost module the operator was called in."""
        stack = self.node.meta.get("nn_module_stack") or {}
        path = str(next(reversed(stack.values()))[0]) if stack else ""
        return re.sub(r"@\d+$", "", path)

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
        return list(_values(self.arguments.values()))

    def unite(self, first: Ids, second: Ids) -> None:
        """Tie two arrays of ids index by index; an id that meets a fixed entry is frozen with this place."""
        first, second = np.broadcast_arrays(first, second)
        lone = (first >= 0) != (second >= 0)
        if lone.any():
            met = np.where(first >= 0, first, second)[lone]
            self.freeze(met, f"{self.operator} combines its channels with a tensor of fixed size")
        both = (first >= 0) & (second >= 0)
        self.trace.units.unite(first[both], second[both])

    def freeze(self, ids: Ids, why: str) -> None:
        """Freeze ``ids``; the reason is completed by the place."""
        self.trace.units.freeze(ids, f"{why} ({self.place})")

    def attribute(self, name: str, ids: Ids, divisor: int = 1) -> None:
        """Let an integer attribute of the innermost module follow the channels, where it does so now."""
        module = self.trace.modules.get(self.module)
        value = getattr(module, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and value == len(ids) // divisor:
            self.trace.attributes[self.module, name] = Attribute(self.module, name, ids, divisor)

    def count(self, terms: list[Term], coefficient: int, factors: Sequence[Ids]) -> None:
        """Add a term to a cost, unless this graph only adds what the first one did not reach."""
        if self.trace.counting:
            terms.append(Term(coefficient, tuple(factors)))


def interpret(trace: Trace, captured: Captured, *, counting: bool = True) -> None:
    """Run a captured graph abstractly; what it finds is added to ``trace``."""
    trace.counting = counting
    environment: dict[fx.Node, Any] = {}
    for node in captured.graph.nodes:
        if node.op == "placeholder":
            name = captured.tensors.get(node.name)
            environment[node] = trace.tensor(name) if name is not None else _fixed(node)
        elif node.op == "call_function":
            environment[node] = _call(trace, node, environment)
        elif node.op == "output":
            for value in _values(_resolve(node.args, environment)):
                trace.units.freeze(value.ids(), "is an output of the network")
        else:
            environment[node] = _fixed(node)


def _call(trace: Trace, node: fx.Node, environment: dict[fx.Node, Any]) -> Any:
    """Apply the operator's rule; without one, freeze all that enters."""
    if node.target is operator.getitem:
        source, index = _resolve(node.args, environment)
        return source[index] if isinstance(source, (list, tuple)) else _fixed(node)
    call = Call(trace, node, _bind(node, environment), _shape(node.meta.get("val")))
    found = find_rule(node.target)
    if found is None or not isinstance(call.outputs, (tuple, list)):
        result: Any = unknown(call)
    else:
        result = _apply(found, call)
    for value in _values([result]):
        if value.labels:
            trace.touched.append((call.module, value.ids()))
    return result


def _apply(rule: Rule, call: Call) -> Any:
    """Apply a rule; arguments it does not expect freeze what enters."""
    try:
        return rule(call)
    except (AssertionError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        return unknown(call, f" in this form ({error})")


def unknown(call: Call, detail: str = "") -> Any:
    """Freeze everything that enters; what comes out has a fixed size."""
    for value in call.values():
        call.freeze(value.ids(), f"operator {call.operator} is not understood{detail}")
    return _fixed(call.node)


def _bind(node: fx.Node, environment: dict[fx.Node, Any]) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, defaults filled in."""
    args, kwargs = _resolve(node.args, environment), _resolve(node.kwargs, environment)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {**{str(index): arg for index, arg in enumerate(args)}, **kwargs}
    bound = {item.name: item.default_value for item in schema.arguments if item.has_default_value()}
    bound.update({item.name: arg for item, arg in zip(schema.arguments, args, strict=False)})
    return {**bound, **kwargs}


def _resolve(argument: Any, environment: dict[fx.Node, Any]) -> Any:
    """Nodes replaced by their values, in nested lists, tuples and dictionaries."""
    if isinstance(argument, fx.Node):
        return environment.get(argument)
    if isinstance(argument, (list, tuple)):
        return [_resolve(item, environment) for item in argument]
    if isinstance(argument, dict):
        return {key: _resolve(item, environment) for key, item in argument.items()}
    return argument


def _values(items: Any) -> Any:
    """All values in nested lists and dictionaries."""
    for item in items:
        if isinstance(item, Value):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _values(item)
        elif isinstance(item, dict):
            yield from _values(item.values())


def _shape(value: Any) -> Any:
    """Shapes of what a node produces."""
    if isinstance(value, torch.Tensor):
        return tuple(int(size) for size in value.shape)
    if isinstance(value, (list, tuple)):
        return [_shape(item) for item in value]
    return None


def _fixed(node: fx.Node) -> Any:
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


def named_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def canonical_names(model: nn.Module) -> dict[str, str]:
    """For every name of a parameter or buffer the first name of the same tensor."""
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    for members in (model.named_parameters, model.named_buffers):
        for name, tensor in members(remove_duplicate=False):
            names[name] = first.setdefault(id(tensor), name)
    return names
