"""From a finished trace to the search space: groups, where they lie, what they cost."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from eyas.pruning.groups import FIXED, ChannelGroup, FrozenGroup, Ints, Layout, group_at
from eyas.pruning.space import SearchSpace
from eyas.pruning.tracing.assemble import RawGroup, assemble, layer_of, layers_of
from eyas.pruning.tracing.captured_network import CapturedNetwork
from eyas.pruning.tracing.cost_terms import CostTerms, Monomial
from eyas.pruning.tracing.residual_branches import residual_blocks
from eyas.pruning.tracing.state import Term, Trace


def space_of(trace: Trace, network: CapturedNetwork) -> SearchSpace:
    """Groups, layout and cost model from a finished trace."""
    raw = assemble(trace, trace.channels.reasons())
    prunable = [group for group in raw if not group.reason and len(group.roots) > 1]
    unit_of_root = np.full(len(trace.channels.roots()) + 1, FIXED, dtype=np.int64)  # the last entry: that of FIXED
    offsets = np.cumsum([0, *(len(group.roots) for group in prunable)])
    for group, start in zip(prunable, offsets[:-1].tolist(), strict=True):
        unit_of_root[group.roots] = np.arange(start, start + len(group.roots))
    units = _UnitArrays(trace, unit_of_root)
    layout = _layout(trace, units, offsets)
    groups = tuple(_named(_group(layout, number, group) for number, group in enumerate(prunable)))
    blocks, smallest = residual_blocks(network.branches, groups)
    switches = tuple(block.own[0] for block in blocks)
    costs = CostTerms(np.repeat(np.arange(len(groups)), np.diff(offsets)), len(groups), switches).cost_model(
        [units.monomial(term, smallest) for term in trace.macs],
        _parameter_monomials(trace, layout, smallest),
        [units.monomial(term, smallest) for term in trace.activations],
        batch=network.images,
    )
    return SearchSpace(
        trace.model,
        groups,
        _complete(trace, network, raw),
        layout,
        costs,
        example=network.example,
        min_width=network.min_width,
        blocks=blocks,
    )


class _UnitArrays:
    """Unit numbers along arrays of ids; equal arrays are one object."""

    def __init__(self, trace: Trace, unit_of_root: Ints) -> None:
        self._channels, self._unit_of_root = trace.channels, unit_of_root
        self._known: dict[bytes, Ints] = {}

    def __call__(self, ids: Ints) -> Ints:
        units = self._unit_of_root[self._channels.canonical(ids)]
        return self._known.setdefault(units.tobytes(), units)

    def monomial(self, term: Term, smallest: Mapping[Any, int]) -> Monomial:
        """A cost term in unit numbers; ``smallest`` is the smallest residual block of each node."""
        return Monomial(term.coefficient, tuple(self(ids) for ids in term.factors), smallest.get(term.node))


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


def _group(layout: Layout, number: int, raw: RawGroup) -> ChannelGroup:
    """A prunable group as a value."""
    members = [(slot.parameter, slot.dim, slot.role) for slot in raw.slots]
    return group_at(
        layout,
        number,
        name=layer_of(raw.leader),
        layers=layers_of(raw.slots),
        members=members,
        fewest_units=raw.fewest_units,
    )


def _named(groups: Iterator[ChannelGroup]) -> Iterator[ChannelGroup]:
    """Second and further groups of one layer get a number."""
    seen: dict[str, int] = {}
    for group in groups:
        number = seen[group.name] = seen.get(group.name, 0) + 1
        yield group if number == 1 else replace(group, name=f"{group.name}/{number}")


def _frozen(trace: Trace, raw: list[RawGroup]) -> Iterator[FrozenGroup]:
    """What cannot be pruned, one entry per leading layer and reason."""
    merged: dict[tuple[str, str], list[RawGroup]] = {}
    for group in raw:
        if group.reason or len(group.roots) < 2:
            merged.setdefault((layer_of(group.leader), group.reason), []).append(group)
    for (name, reason), same in merged.items():
        leader = trace.channels.canonical(same[0].leader.ids)
        count = sum(int(np.isin(leader, group.roots).sum()) for group in same)
        tied = f"all {count} channels are tied into {_units(len(same))} by what shuffles, groups or splits them"
        layers = dict.fromkeys(layer for group in same for layer in layers_of(group.slots))
        yield FrozenGroup(name, tuple(layers), reason or tied, count)


def _units(count: int) -> str:
    """In words: parts of one layer that are not interchangeable are units of their own."""
    return "one unit" if count == 1 else f"{count} units that differ, so that none can stand for another,"


def _complete(trace: Trace, network: CapturedNetwork, raw: list[RawGroup]) -> tuple[FrozenGroup, ...]:
    """All that is frozen; layers whose weights the code computes in ways that are not understood as well."""
    listed = (*_frozen(trace, raw), *_unused(network))
    made = (slot.parameter for group in raw for slot in group.slots if slot.role != "in")
    known = {_owner(parameter) for parameter in made} | {layer for group in listed for layer in group.layers}
    reasons, left = trace.channels.reasons(), dict[str, FrozenGroup]()
    slots = (slot for held in trace.slots.values() for slot in held if slot.dim == 0)
    for slot in sorted(slots, key=lambda slot: -trace.tensors[slot.parameter].ndim):  # weights before biases
        name = _owner(slot.parameter)
        why = [reasons[root] for root in np.unique(trace.channels.canonical(slot.ids)).tolist() if root in reasons]
        if why and name not in known:
            left.setdefault(name, FrozenGroup(name, (name,), why[0], len(slot.ids)))
    return (*listed, *left.values())


def _owner(parameter: str) -> str:
    """Path of the module a parameter belongs to, parametrized or not; the model's own stand for themselves."""
    path = parameter.partition(".parametrizations.")[0]
    return path if path != parameter else path.rpartition(".")[0] or path


def _unused(network: CapturedNetwork) -> Iterator[FrozenGroup]:
    """Layers that no captured graph runs."""
    for name in network.unused:
        yield FrozenGroup(name, (name,), f"{_which(network, name)} not used in the forward pass")


def _which(network: CapturedNetwork, layer: str) -> str:
    """A layer's parameters, or those of them that are unused."""
    unused = [leaf for leaf in network.unused[layer] if leaf]
    own = len(list(network.model.get_submodule(layer).parameters(recurse=False))) if unused else 0
    few = f"its {' and '.join(unused)} {'is' if len(unused) == 1 else 'are'}"
    return few if len(unused) < own else "its parameters are"


def _parameter_monomials(trace: Trace, layout: Layout, smallest: Mapping[Any, int]) -> list[Monomial]:
    """Entries of every parameter as a product of its lengths."""
    monomials = []
    for name, parameter in trace.model.named_parameters():
        held = {dim: layout.slots[name, dim] for dim in range(parameter.ndim) if (name, dim) in layout.slots}
        fixed = prod(size for dim, size in enumerate(parameter.shape) if dim not in held)
        monomials.append(Monomial(fixed, tuple(held.values()), smallest.get(name)))
    return monomials
