"""What is left of a search space in a network that was pruned already: the same groups, without tracing."""

import numpy as np
from torch import nn

from eyas.errors import PlanError
from eyas.pruning.groups import FIXED, ChannelGroup, Ints, Layout, group_at
from eyas.pruning.plan import PruningPlan
from eyas.pruning.space import SearchSpace


def pruned_space(space: SearchSpace, plan: PruningPlan, small: nn.Module) -> SearchSpace:
    """The search space of ``small``, which ``eyas.prune(model, space, plan)`` gave and which may have been trained.

    Every group has the units that the plan keeps, in their order; groups of blocks that it leaves out are gone.

    Raises:
        PlanError: the plan was made for another search space.
        CheckpointError: ``small`` is not what the plan keeps.
    """
    mask, layout, slices = space.mask(plan), space.layout, space.slices(plan)
    removed = space.removed(plan)
    numbers_left = {old: new for new, old in enumerate(n for n, g in enumerate(space.groups) if plan.kept[g.name])}
    gone = [number for number in range(len(space.groups)) if number not in numbers_left]
    numbers = np.where(mask, np.cumsum(mask) - 1, FIXED)
    numbers[-1] = FIXED

    def kept(units: Ints) -> Ints:
        return numbers[units[mask[units]]]

    def smaller(group: ChannelGroup, number: int) -> ChannelGroup:
        members = [(m.parameter, m.dim, m.role) for m in group.members if m.parameter not in removed]
        fewest = group.floor // group.step
        return group_at(left, number, name=group.name, layers=group.layers, members=members, fewest_units=fewest)

    left = Layout(
        slots={slot: kept(units) for slot, units in layout.slots.items() if slot[0] not in removed},
        attributes={
            key: (kept(layout.attributes[key][0]), layout.attributes[key][1]) for key in space.attributes(plan)
        },
        offsets=np.unique(np.append(0, np.cumsum(mask))[layout.offsets]),
        shapes={
            name: tuple(len(slices.get(name, {}).get(dim, range(size))) for dim, size in enumerate(shape))
            for name, shape in layout.shapes.items()
            if name not in removed
        },
    )
    groups = tuple(smaller(space.groups[old], new) for old, new in numbers_left.items())
    blocks = tuple(block.renumbered(numbers_left) for block in space.blocks if block.own[0] in numbers_left)
    inner = SearchSpace(
        small, groups, space.frozen, left, space.cost_model.without(gone),
        example=space.example, round_to=space.round_to, min_width=space.min_width, blocks=blocks,
    )  # fmt: skip
    inner.constants = space.constants
    inner.check_model(small)
    return inner


def plan_inside(outer: PruningPlan, plan: PruningPlan, inner: SearchSpace) -> PruningPlan:
    """``plan`` for a network that was pruned to ``outer`` before; both are plans of the dense network's space.

    Args:
        outer: what the network keeps.
        plan: what it is to keep; all of it is in ``outer``.
        inner: :func:`pruned_space` of ``outer``.

    Raises:
        PlanError: ``plan`` is of another search space, or keeps a channel that ``outer`` does not.
    """
    if plan.space != outer.space or list(plan.kept) != list(outer.kept):
        raise PlanError("the two plans are of different search spaces")
    kept = {}
    for name, channels in plan.kept.items():
        lost = sorted(set(channels) - set(outer.kept[name]))
        if lost:
            msg = f"group {name!r}: the plan keeps channel {lost[0]}, which the network has lost already"
            raise PlanError(msg)
        if outer.kept[name]:
            kept[name] = tuple(np.searchsorted(outer.kept[name], channels).tolist())
    return PruningPlan(space=inner.fingerprint, channels={name: outer.widths[name] for name in kept}, kept=kept)
