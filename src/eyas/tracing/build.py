"""Put a search space together: capture, interpret, assemble, verify."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from eyas.cost import CostModel, Monomial
from eyas.errors import ParameterError, TraceError
from eyas.space import ChannelGroup, FrozenGroup, Ints, Layout, Member, SearchSpace
from eyas.surgery import share_structure
from eyas.tracing.assemble import RawGroup, assemble, layer_of, layers_of
from eyas.tracing.capture import Captured, capture
from eyas.tracing.interpreter import Term, Trace, canonical_names, interpret
from eyas.tracing.units import Slot
from eyas.tracing.verify import MAX_CHECKS, Prober

Ignore = tuple[str | type[nn.Module], ...]
Example = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass
class Findings:
    """What running smaller networks has taught: readings of ambiguous lines, and what has to freeze."""

    choices: dict[str, int] = field(default_factory=dict)
    frozen: list[tuple[str, int, Ints, str]] = field(default_factory=list)
    """Parameter, dimension, positions along it, reason."""


@dataclass(frozen=True)
class Source:
    """A network and everything that was captured of it."""

    model: nn.Module
    example: Example
    captured: tuple[Captured, ...]
    ignored: frozenset[str]
    unused: tuple[str, ...]
    """Modules whose parameters no captured graph reads."""
    round_to: int
    min_width: int

    def run(self, findings: Findings) -> Trace:
        """Interpret the captured graphs under the given findings."""
        trace = Trace(self.model, findings.choices)
        for index, captured in enumerate(self.captured):
            interpret(trace, captured, counting=index == 0)
        for module, ids in trace.touched:
            if module in self.ignored:
                trace.units.freeze(ids, "ignored")
        for parameter, dim, positions, reason in findings.frozen:
            trace.units.freeze(trace.slots[parameter][dim].ids[positions], reason)
        return trace

    def space(self, trace: Trace) -> SearchSpace:
        """The search space of a trace."""
        return space_of(trace, self)


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
    ignored = frozenset(ignored_modules(model, ignore))
    captured = [capture(share_structure(model).eval(), args, kwargs)]
    if unread(model, captured):
        with contextlib.suppress(TraceError):
            captured.append(capture(share_structure(model).train(), *doubled((args, kwargs))))
    unused = unread(model, captured)
    source = Source(model, (args, kwargs), tuple(captured), ignored, unused, round_to, min_width)
    return settle(source)


def settle(source: Source) -> SearchSpace:
    """Build the space, run it narrowed, and mend or freeze until it computes what it should."""
    findings = Findings()
    prober: Prober | None = None
    while True:
        trace = source.run(findings)
        space = source.space(trace)
        prober = prober or Prober(source.model, source.example)
        wrong = prober.culprits(space, space.groups)
        if not wrong:
            return _widened(source, findings, trace, space, prober)
        for name, reason in wrong.items():
            if not _reread(source, findings, trace, space.group(name), prober):
                _freeze(findings, space.group(name), reason)


def _freeze(findings: Findings, group: ChannelGroup, reason: str) -> None:
    """Freeze a group for good."""
    leader = next(member for member in group.members if member.role == "out")
    findings.frozen.append((leader.parameter, leader.dim, leader.positions.ravel(), reason))


def _reread(source: Source, findings: Findings, trace: Trace, group: ChannelGroup, prober: Prober) -> bool:
    """Look for another reading of an ambiguous line under which the group's layers can be narrowed."""
    roots = np.concatenate(list(_roots(trace, group)))
    for code, (readings, passing) in trace.sites.items():
        touched = any(np.isin(trace.units.canonical(part), roots).any() for part in passing)
        for choice in range(findings.choices.get(code, 0) + 1, readings if touched else 0):
            if prober.checks >= MAX_CHECKS:
                return False
            other = Findings({**findings.choices, code: choice}, findings.frozen)
            space = source.space(source.run(other))
            concerned = [g for g in space.groups if set(g.layers) & set(group.layers)]
            if concerned and prober.failure(space, concerned) is None:
                findings.choices[code] = choice
                return True
    return False


def _widened(source: Source, findings: Findings, trace: Trace, space: SearchSpace, prober: Prober) -> SearchSpace:
    """Try the other readings of lines behind which all is frozen; take those that free channels and hold."""
    kept = {group.name for group in space.groups}
    free = np.concatenate([[-1], *(m for g in space.groups for m in _roots(trace, g))])
    for code, (readings, passing) in trace.sites.items():
        if any(np.isin(trace.units.canonical(part), free).any() for part in passing):
            continue
        for choice in range(findings.choices.get(code, 0) + 1, readings):
            other = Findings({**findings.choices, code: choice}, findings.frozen)
            wider = source.space(source.run(other))
            fresh = [group for group in wider.groups if group.name not in kept]
            if fresh and len(wider.groups) > len(kept) and prober.failure(wider, wider.groups) is None:
                return _widened(source, other, source.run(other), wider, prober)
    return space


def _roots(trace: Trace, group: ChannelGroup) -> Iterator[Ints]:
    """Representatives of a group's channels, by each of its members."""
    for member in group.members:
        yield trace.units.canonical(trace.slots[member.parameter][member.dim].ids[member.positions.ravel()])


def unread(model: nn.Module, captured: Sequence[Captured]) -> tuple[str, ...]:
    """Modules with parameters that no captured graph reads."""
    names = canonical_names(model)
    read = {names.get(name, name) for graph in captured for name in graph.read()}
    left = [name for name, _ in model.named_parameters() if name not in read]
    return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in left))


def doubled(example: Example) -> Example:
    """Two of each image: batch statistics of one value do not exist."""
    args, kwargs = pytree.tree_map(
        lambda item: torch.cat([item, item]) if isinstance(item, torch.Tensor) and item.ndim else item, example
    )
    return args, kwargs


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


def space_of(trace: Trace, source: Source) -> SearchSpace:
    """Groups, layout and cost model from a finished trace."""
    found = assemble(trace, trace.units.reasons())
    prunable = [group for group in found if not group.reason and len(group.roots) > 1]
    unit_of_root = np.full(len(trace.units.roots()) + 1, -1, dtype=np.int64)
    offsets = np.cumsum([0, *(len(group.roots) for group in prunable)])
    for group, start in zip(prunable, offsets[:-1].tolist(), strict=True):
        unit_of_root[group.roots] = np.arange(start, start + len(group.roots))
    units = _UnitArrays(trace, unit_of_root)
    layout = _layout(trace, units, offsets)
    groups = tuple(_named(_group(raw, start, units) for raw, start in zip(prunable, offsets.tolist(), strict=False)))
    unit_group = np.repeat(np.arange(len(groups)), np.diff(offsets))
    costs = CostModel(
        [units.monomial(term) for term in trace.macs],
        _parameter_monomials(trace, layout),
        [units.monomial(term) for term in trace.activations],
        unit_group=unit_group,
        num_groups=len(groups),
        batch=_batch(source.example),
    )
    return SearchSpace(
        trace.model,
        groups,
        (*_frozen(trace, found), *_unused(source)),
        layout,
        costs,
        example=source.example,
        round_to=source.round_to,
        min_width=source.min_width,
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
    name, floor = layer_of(raw.leader), raw.floor * leader.shape[1]
    layers = layers_of(raw.slots)
    return ChannelGroup(name, leader.size, leader.shape[1], layers, members, unit_of_channel, floor)


def _positions(slot: Slot, raw: RawGroup, start: int, units: _UnitArrays) -> Ints:
    """Positions of the group's units along a slot, shape ``(units, entries per unit)``."""
    along = units(slot.ids)
    places = np.flatnonzero((along >= start) & (along < start + len(raw.roots)))
    order = np.argsort(along[places], kind="stable")
    return places[order].reshape(len(raw.roots), -1)


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
    for (name, reason), parts in merged.items():
        leader = trace.units.canonical(parts[0].leader.ids)
        count = sum(int(np.isin(leader, part.roots).sum()) for part in parts)
        tied = f"all {count} channels are tied into one unit by what shuffles, groups or splits them"
        layers = dict.fromkeys(layer for part in parts for layer in layers_of(part.slots))
        yield FrozenGroup(name, tuple(layers), reason or tied, count)


def _unused(source: Source) -> Iterator[FrozenGroup]:
    """Layers that no captured graph runs."""
    for name in source.unused:
        yield FrozenGroup(name, (name,), "its parameters are not used in the forward pass")


def _parameter_monomials(trace: Trace, layout: Layout) -> list[Monomial]:
    """Entries of every parameter as a product of its lengths."""
    found = []
    for name, parameter in trace.model.named_parameters():
        held = {dim: layout.slots[name, dim] for dim in range(parameter.ndim) if (name, dim) in layout.slots}
        fixed = prod(size for dim, size in enumerate(parameter.shape) if dim not in held)
        found.append(Monomial(fixed, tuple(held.values())))
    return found


def _batch(example: Example) -> int:
    """Images in the example batch: the first dimension of the first tensor."""
    tensors = (item for item in pytree.tree_leaves(example) if isinstance(item, torch.Tensor))
    first = next(tensors, None)
    return int(first.shape[0]) if first is not None and first.ndim > 0 else 1
