"""Put a search space together: capture, interpret, assemble, verify."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

from eyas.cost import CostModel, Monomial
from eyas.errors import ParameterError
from eyas.space import ChannelGroup, FrozenGroup, Ints, Layout, Member, SearchSpace
from eyas.surgery import share_structure
from eyas.tracing.assemble import RawGroup, assemble, layer_of, layers_of
from eyas.tracing.capture import Captured, capture
from eyas.tracing.interpreter import Term, Trace, interpret
from eyas.tracing.units import Slot

Ignore = tuple[str | type[nn.Module], ...]


def build(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    ignore: Ignore,
    *,
    round_to: int,
    min_width: int,
) -> SearchSpace:
    """The search space of ``model``; see :func:`eyas.trace`."""
    for name, number in (("round_to", round_to), ("min_width", min_width)):
        if number < 1:
            msg = f"{name} must be at least 1; given: {number}"
            raise ParameterError(msg)
    ignored = ignored_modules(model, ignore)
    captured = capture(share_structure(model).eval(), args, kwargs)
    trace = run(model, captured, {}, ignored)
    return space_of(trace, (args, kwargs), round_to=round_to, min_width=min_width)


def run(model: nn.Module, captured: Captured, choices: Mapping[str, int], ignored: set[str]) -> Trace:
    """Interpret the captured graph under the given readings of ambiguous lines."""
    trace = Trace(model, choices)
    interpret(trace, captured)
    for module, ids in trace.touched:
        if module in ignored:
            trace.units.freeze(ids, "ignored")
    return trace


def ignored_modules(model: nn.Module, ignore: Ignore) -> set[str]:
    """Paths of the matched modules and of all inside them.

    Raises:
        ParameterError: a pattern or type matches nothing.
    """
    modules = dict(model.named_modules())
    found: set[str] = set()
    for item in ignore:
        if isinstance(item, str):
            matched = [path for path in modules if fnmatchcase(path, item)]
        else:
            matched = [path for path, module in modules.items() if isinstance(module, item)]
        if not matched:
            what = repr(item) if isinstance(item, str) else item.__name__
            some = ", ".join(path for path in list(modules)[1:9])
            msg = f"ignore: {what} matches no layer; layers are named {some} ..."
            raise ParameterError(msg)
        found.update(matched)
    return {path for path in modules if any(path == f or path.startswith(f"{f}.") or not f for f in found)}


def space_of(
    trace: Trace, example: tuple[tuple[Any, ...], dict[str, Any]], *, round_to: int, min_width: int
) -> SearchSpace:
    """Groups, layout and cost model from a finished trace."""
    raw = assemble(trace, trace.units.reasons())
    prunable = [group for group in raw if not group.reason and len(group.roots) > 1]
    unit_of_root = np.full(len(trace.units.roots()) + 1, -1, dtype=np.int64)
    offsets = np.cumsum([0, *(len(group.roots) for group in prunable)])
    for group, start in zip(prunable, offsets[:-1].tolist(), strict=True):
        unit_of_root[group.roots] = np.arange(start, start + len(group.roots))
    units = _UnitArrays(trace, unit_of_root)
    layout = _layout(trace, units, offsets)
    groups = tuple(
        _named(_group(group, start, units) for group, start in zip(prunable, offsets.tolist(), strict=False))
    )
    unit_group = np.repeat(np.arange(len(groups)), np.diff(offsets))
    costs = CostModel(
        [units.monomial(term) for term in trace.macs],
        _parameter_monomials(trace, layout),
        [units.monomial(term) for term in trace.activations],
        unit_group=unit_group,
        num_groups=len(groups),
        batch=_batch(example),
    )
    frozen = _frozen(raw)
    return SearchSpace(
        trace.model, groups, frozen, layout, costs, example=example, round_to=round_to, min_width=min_width
    )


class _UnitArrays:
    """Unit numbers along arrays of ids; equal arrays are one object."""

    def __init__(self, trace: Trace, unit_of_root: Ints) -> None:
        self._units, self._unit_of_root = trace.units, unit_of_root
        self._known: dict[bytes, Ints] = {}

    def __call__(self, ids: Ints) -> Ints:
        units = self._unit_of_root[self._units.canonical(ids)]
        return self._known.setdefault(units.tobytes(), units)

    def monomial(self, term: Term) -> Monomial:
        """A cost term in unit numbers."""
        return Monomial(term.coefficient, tuple(self(ids) for ids in term.factors))


def _layout(trace: Trace, units: _UnitArrays, offsets: Ints) -> Layout:
    slots = {}
    for held in trace.slots.values():
        for slot in held:
            along = units(slot.ids)
            if (along >= 0).any():
                slots[slot.parameter, slot.dim] = along
    attributes = {}
    for key, attribute in trace.attributes.items():
        along = units(attribute.ids)
        if (along >= 0).any():
            attributes[key] = (along, attribute.divisor)
    shapes = {name: tuple(tensor.shape) for name, tensor in trace.tensors.items()}
    return Layout(slots, attributes, offsets, shapes)


def _group(raw: RawGroup, start: int, units: _UnitArrays) -> ChannelGroup:
    members = tuple(
        Member(slot.parameter, slot.dim, slot.role, _positions(slot, raw, start, units)) for slot in raw.slots
    )
    leader = members[raw.slots.index(raw.leader)].positions
    order = np.argsort(leader, axis=None)
    unit_of_channel = np.repeat(np.arange(len(leader)), leader.shape[1])[order]
    name = layer_of(raw.leader)
    return ChannelGroup(name, leader.size, leader.shape[1], layers_of(raw.slots), members, unit_of_channel)


def _positions(slot: Slot, raw: RawGroup, start: int, units: _UnitArrays) -> Ints:
    """Positions of the group's units along a slot, shape ``(units, entries per unit)``."""
    along = units(slot.ids)
    places = np.flatnonzero((along >= start) & (along < start + len(raw.roots)))
    order = np.argsort(along[places], kind="stable")
    return places[order].reshape(len(raw.roots), -1)


def _named(groups: Any) -> Any:
    """Second and further groups of one layer get a number."""
    seen: dict[str, int] = {}
    for group in groups:
        seen[group.name] = seen.get(group.name, 0) + 1
        number = seen[group.name]
        name = group.name if number == 1 else f"{group.name}/{number}"
        yield ChannelGroup(name, group.channels, group.step, group.layers, group.members, group.unit_of_channel)


def _frozen(raw: list[RawGroup]) -> tuple[FrozenGroup, ...]:
    """What cannot be pruned, one entry per leading layer and reason."""
    found: dict[tuple[str, str], tuple[list[str], int]] = {}
    for group in raw:
        if group.reason or len(group.roots) < 2:
            entries = int(np.isin(group.leader.ids, group.leader.ids).sum())
            reason = group.reason or (
                f"all {entries} channels are tied into one unit: what shuffles, groups or splits them "
                "leaves nothing that could go alone"
            )
            layers, channels = found.setdefault((layer_of(group.leader), reason), ([], 0))
            layers.extend(layer for layer in layers_of(group.slots) if layer not in layers)
            found[layer_of(group.leader), reason] = (layers, max(channels, entries))
    return tuple(FrozenGroup(name, tuple(ls), why, count) for (name, why), (ls, count) in found.items())


def _parameter_monomials(trace: Trace, layout: Layout) -> list[Monomial]:
    """Entries of every parameter as a product of its lengths."""
    found = []
    for name, parameter in trace.model.named_parameters():
        held = {dim: layout.slots[name, dim] for dim in range(parameter.ndim) if (name, dim) in layout.slots}
        fixed = prod(size for dim, size in enumerate(parameter.shape) if dim not in held)
        found.append(Monomial(fixed, tuple(held.values())))
    return found


def _batch(example: tuple[tuple[Any, ...], dict[str, Any]]) -> int:
    """Images in the example batch: the first dimension of the first tensor."""
    tensors = (item for item in torch.utils._pytree.tree_leaves(example) if isinstance(item, torch.Tensor))
    first = next(tensors, None)
    return int(first.shape[0]) if first is not None and first.ndim > 0 else 1
