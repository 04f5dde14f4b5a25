"""Refine what static rules leave open: narrow the network, run it, read a line differently or freeze."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from eyas.pruning.groups import FIXED, ChannelGroup, Ints
from eyas.pruning.plan import PruningPlan
from eyas.pruning.residual_block import ResidualBlock
from eyas.pruning.space import SearchSpace
from eyas.pruning.tracing.branches import branching
from eyas.pruning.tracing.captured_network import CapturedNetwork, Findings
from eyas.pruning.tracing.layout import space_of
from eyas.pruning.tracing.state import Trace
from eyas.pruning.tracing.verify import MAX_CHECKS, Prober, plan_with


def refine(network: CapturedNetwork) -> SearchSpace:
    """Build the space, run it narrowed, and mend or freeze until it computes what it should."""
    findings = Findings()
    prober: Prober | None = None
    while True:
        trace = network.interpret(findings)
        space = space_of(trace, network)
        prober = prober or Prober(network.model, network.example, network.random_line())
        wrong = prober.culprits(space, space.groups)
        if not wrong:
            space = _widened(network, findings, trace, space, prober)
            branches = branching(space, prober)
            if not branches:
                return space
            for name, reason in branches.items():
                _freeze(findings, space.group(name), reason)
            continue
        for name, reason in wrong.items():
            if not _reread(network, findings, trace, space.group(name), prober):
                _freeze(findings, space.group(name), reason)


def refine_depth(network: CapturedNetwork) -> SearchSpace:
    """:func:`refine`, without the residual blocks that the network cannot do without as it is written."""
    while True:
        space = refine(network)
        prober = Prober(network.model, network.example, network.random_line())
        wrong = {block.name for block in space.blocks if prober.failure_of(space, _without(space, block))}
        if not wrong:
            return space
        network = replace(network, branches=tuple(b for b in network.branches if b.name not in wrong))


def _without(space: SearchSpace, block: ResidualBlock) -> PruningPlan:
    """All channels but those of one residual block."""
    return plan_with(space, {space.groups[number].name: 0 for number in block.groups})


def _freeze(findings: Findings, group: ChannelGroup, reason: str) -> None:
    """Freeze a group for good."""
    leader = next(member for member in group.members if member.role == "out")
    findings.frozen.append((leader.parameter, leader.dim, leader.positions.ravel(), reason))


def _reread(network: CapturedNetwork, findings: Findings, trace: Trace, group: ChannelGroup, prober: Prober) -> bool:
    """Look for another reading of an ambiguous line under which the group's layers can be narrowed."""
    roots = np.concatenate(list(_roots(trace, group)))
    for code, (readings, passing) in trace.sites.items():
        touched = any(np.isin(trace.channels.canonical(part), roots).any() for part in passing)
        for choice in range(findings.choices.get(code, 0) + 1, readings if touched else 0):
            if prober.checks >= MAX_CHECKS:
                return False
            other = Findings({**findings.choices, code: choice}, findings.frozen)
            space = space_of(network.interpret(other), network)
            concerned = [g for g in space.groups if set(g.layers) & set(group.layers)]
            if concerned and prober.failure(space, concerned) is None:
                findings.choices[code] = choice
                return True
    return False


def _widened(
    network: CapturedNetwork, findings: Findings, trace: Trace, space: SearchSpace, prober: Prober
) -> SearchSpace:
    """Try the other readings of lines behind which all is frozen; take those that free channels and hold."""
    kept = {group.name for group in space.groups}
    free = np.concatenate([[FIXED], *(m for g in space.groups for m in _roots(trace, g))])
    for code, (readings, passing) in trace.sites.items():
        if any(np.isin(trace.channels.canonical(part), free).any() for part in passing):
            continue
        for choice in range(findings.choices.get(code, 0) + 1, readings):
            other = Findings({**findings.choices, code: choice}, findings.frozen)
            wider = space_of(network.interpret(other), network)
            fresh = [group for group in wider.groups if group.name not in kept]
            if fresh and len(wider.groups) > len(kept) and prober.failure(wider, wider.groups) is None:
                return _widened(network, other, network.interpret(other), wider, prober)
    return space


def _roots(trace: Trace, group: ChannelGroup) -> Iterator[Ints]:
    """Representatives of a group's channels, by each of its members."""
    for member in group.members:
        yield trace.channels.canonical(trace.slots[member.parameter][member.dim].ids[member.positions.ravel()])
