"""What interpreting a network finds, collected while its graph is walked."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import fx, nn

from eyas.pruning.groups import Role
from eyas.pruning.tracing.union_find import Ids, UnionFind
from eyas.pruning.tracing.values import Value


@dataclass
class Slot:
    """One dimension of one parameter or buffer, and the ids of its entries."""

    parameter: str
    dim: int
    ids: Ids
    role: Role | None = None
    """None until an operator says what it is for."""
    order: int = -1
    """When it was first used, in order of execution."""


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
    node: fx.Node | None = None
    """What it is the cost of."""


@dataclass
class Trace:
    """All that interpreting the captured graphs of one network has found."""

    model: nn.Module
    choices: Mapping[str, int] = field(default_factory=dict)
    """For a line of code whose meaning is ambiguous: which reading to take (0, the first, by default)."""
    channels: UnionFind = field(default_factory=UnionFind)
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
        self._operands: dict[int, dict[int, Slot]] = {}

    def tensor(self, name: str) -> Value:
        """The value of a parameter or buffer; each of its dimensions has ids of its own."""
        name = self.names.get(name, name)
        tensor = self.tensors[name]
        if name not in self.slots:
            self.slots[name] = [Slot(name, dim, self.channels.new(size)) for dim, size in enumerate(tensor.shape)]
            self._starts.update({int(slot.ids[0]): slot for slot in self.slots[name] if len(slot.ids)})
        labels = {slot.dim: slot.ids for slot in self.slots[name]}
        shape = tuple(tensor.shape)
        return Value(shape, {}, tensor.element_size()).relabel(shape, labels)

    def mark(self, ids: Ids, role: Role) -> None:
        """Give the parameter dimension behind fresh ``ids`` its role, and its place in the order."""
        self.clock += 1
        for slot in self._made_of(ids, role):
            slot.role = slot.role or role
            slot.order = slot.order if slot.order >= 0 else self.clock

    def combine(self, operands: list[Ids]) -> None:
        """Remember weights that are combined entry by entry (sums, masks): they are to play one role."""
        slots = [slot for ids in operands for slot in self._slots_of(ids)]
        joined = {start: held for slot in slots for start, held in self._operands.get(int(slot.ids[0]), {}).items()}
        joined |= {int(slot.ids[0]): slot for slot in slots}
        if len(joined) > 1:
            self._operands.update(dict.fromkeys(joined, joined))

    def _made_of(self, ids: Ids, role: Role) -> list[Slot]:
        """The parameter dimensions behind a weight: several where it is combined from matrices of one shape."""
        own = self._slots_of(ids)
        if role not in ("in", "out") or not own or not self._is_matrix(own[0]):
            return own
        slots = [slot for slot in self._operands.get(int(ids[0]), {}).values() if self._is_matrix(slot)] or own
        trained = [slot for slot in slots if isinstance(self.tensors[slot.parameter], nn.Parameter)]
        return slots if role == "in" else trained or own

    def _is_matrix(self, slot: Slot) -> bool:
        return sum(size > 1 for size in self.tensors[slot.parameter].shape) > 1

    def is_parameter(self, ids: Ids) -> bool:
        """Whether ``ids`` are those of a parameter's dimension."""
        return bool(self._slots_of(ids))

    def _slots_of(self, ids: Ids) -> list[Slot]:
        slot = self._starts.get(int(ids[0])) if len(ids) else None
        return [slot] if slot is not None and np.array_equal(slot.ids, ids) else []

    def site(self, code: str, readings: int, ids: Ids) -> int:
        """The reading chosen for an ambiguous line of code that ``ids`` pass through."""
        known, passing = self.sites.get(code, (0, []))
        self.sites[code] = (max(known, readings), [*passing, ids])
        return self.choices.get(code, 0)


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
