"""Channel groups as values: which channels belong together, and where they lie in the parameters."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FIXED = -1
"""In an array of channel ids or unit numbers: an entry that belongs to no channel, or to one that has to stay."""

Role = Literal["out", "in", "scale", "shift", "mean", "var", "bias", "slope"]
"""What a parameter's dimension does with the channels: ``out`` makes them, ``in`` consumes them; ``scale``, ``shift``,
``mean`` and ``var`` are those of a normalisation, ``bias`` that of a layer, ``slope`` that of a PReLU."""


@dataclass(frozen=True)
class Member:
    """One dimension of a parameter or buffer that holds channels of a group."""

    parameter: str
    dim: int
    role: Role | None
    """None for a bare parameter, which no layer owns."""
    positions: Ints = field(compare=False, repr=False)
    """Where the group's units lie along the dimension: U units with E entries each."""


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of one or several layers that must be kept or removed together."""

    name: str
    """The first layer that makes them; ``layer/2`` for a second group of the same layer."""
    channels: int
    """Dense width."""
    step: int
    """Smallest legal change of the width: channels per unit."""
    layers: tuple[str, ...]
    """Layers whose output holds the channels, in order of execution."""
    members: tuple[Member, ...] = field(compare=False, repr=False)
    """Every parameter dimension that holds them, consumers included."""
    unit_of_channel: Ints = field(compare=False, repr=False)
    """The unit each channel belongs to; a unit is kept or removed whole."""
    floor: int = 0
    """Fewest channels that may be left, where the forward code squeezes dimensions of size one."""

    @property
    def units(self) -> int:
        """Number of units: the finest steps from nothing to the dense width."""
        return self.channels // self.step


@dataclass(frozen=True)
class FrozenGroup:
    """Channels that cannot be pruned, and why."""

    name: str
    layers: tuple[str, ...]
    reason: str
    channels: int = 0


@dataclass(frozen=True)
class Layout:
    """Where the units of all groups lie in the parameters and attributes of the model."""

    slots: dict[tuple[str, int], Ints]
    """Unit number of each entry along a parameter's dimension, :data:`FIXED` where it belongs to none."""
    attributes: dict[tuple[str, str], tuple[Ints, int]]
    """Unit numbers that an integer attribute counts, and what the count is divided by."""
    offsets: Ints
    """First unit number of each group, and the total."""
    shapes: dict[str, tuple[int, ...]]
    """Dense shape of every parameter and buffer."""


def group_at(
    layout: Layout,
    number: int,
    *,
    name: str,
    layers: tuple[str, ...],
    members: Iterable[tuple[str, int, Role | None]],
    fewest_units: int,
) -> ChannelGroup:
    """The group whose units have the ``number``-th range of unit numbers.

    Args:
        layout: where all units lie.
        number: of the group.
        name: of the group.
        layers: of the group.
        members: parameter, dimension and role; one at least makes the channels, the first that does orders them.
        fewest_units: that may be left.
    """
    start, stop = layout.offsets[number : number + 2].tolist()
    placed = tuple(
        Member(parameter, dim, role, _positions(layout.slots[parameter, dim], start, stop))
        for parameter, dim, role in members
    )
    leader = next(member.positions for member in placed if member.role == "out")
    units, step = leader.shape
    unit_of_channel = np.repeat(np.arange(units), step)[np.argsort(leader, axis=None)]
    return ChannelGroup(name, leader.size, step, layers, placed, unit_of_channel, fewest_units * step)


def _positions(along: Ints, start: int, stop: int) -> Ints:
    """Positions of the units ``start`` to ``stop`` along a slot, shape ``(units, entries per unit)``."""
    places = np.flatnonzero((along >= start) & (along < stop))
    order = np.argsort(along[places], kind="stable")
    return places[order].reshape(stop - start, -1)
