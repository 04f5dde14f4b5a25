"""Which widths the channel groups of a network may take, alone and as a vector."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import lcm
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eyas.errors import ParameterError, PlanError
from eyas.pruning.groups import ChannelGroup, Ints
from eyas.pruning.residual_block import BlockTable, ResidualBlock

Widths = Mapping[str, int] | Sequence[int] | NDArray[np.int64]
"""Kept channels by group name, or of every group in order."""
RoundTo = int | Mapping[str, int]
"""Widths are multiples of this; of one number for every group, or of one for each that is named."""
AUTO = "auto"
"""What stands for multiples that are chosen by the widths of each group."""
USUAL = (8, 4)
"""Multiples that runtimes compute fast where nothing was measured, the best first (``benchmarks/alignment.py``)."""
LEAST_WIDTHS = 4
"""A multiple leaves a group at least so many widths."""


@dataclass(frozen=True)
class LegalWidths:
    """The groups of one network, and the limits of their widths."""

    groups: tuple[ChannelGroup, ...]
    round_to: RoundTo = 1
    min_width: int = 1
    blocks: tuple[ResidualBlock, ...] = field(default=(), repr=False)
    """Residual blocks that may be left out: their groups are 0 wide then, all of a block together."""

    @cached_property
    def block_table(self) -> BlockTable:
        """Which groups go with which block."""
        return BlockTable(self.blocks, len(self.groups))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {group.name: number for number, group in enumerate(self.groups)}

    @cached_property
    def dense(self) -> Ints:
        """The dense width of every group, ``(num_groups,)``."""
        return np.array([group.channels for group in self.groups], dtype=np.int64)

    @cached_property
    def steps(self) -> Ints:
        """Channels per unit of every group, ``(num_groups,)``."""
        return np.array([group.step for group in self.groups], dtype=np.int64)

    @cached_property
    def _floors(self) -> Ints:
        return np.array([max(group.floor, 1) for group in self.groups], dtype=np.int64)

    def group(self, name: str) -> ChannelGroup:
        """A group by name.

        Raises:
            PlanError: there is none of this name.
        """
        if name not in self._index:
            msg = f"no group {name!r}; groups are: {', '.join(self._index)}"
            raise PlanError(msg)
        return self.groups[self._index[name]]

    def multiple(self, group: ChannelGroup) -> int:
        """What the widths proposed for a group are multiples of."""
        return multiple_of(self.round_to, group.name, group.step)

    def of(self, group: ChannelGroup) -> Ints:
        """The widths proposed for a group that is there, ascending; the dense width is always among them."""
        multiple = self.multiple(group)
        widths = np.arange(multiple, group.channels, multiple, dtype=np.int64)
        return np.append(widths[widths >= max(self.min_width, group.floor)], group.channels)

    def vector(self, widths: Widths | None) -> Ints:
        """Widths as a vector in the order of the groups; groups left out keep their dense width.

        Raises:
            PlanError: unknown group, wrong length, or a width that the network cannot have.
        """
        vector = self._as_vector(widths)
        wrong = self._wrong(vector, vector // self.steps)
        if wrong.any():
            raise PlanError(self._in_words(vector, int(np.flatnonzero(wrong)[0])))
        return vector

    def dropped(self, widths: Ints) -> NDArray[np.bool_]:
        """Which blocks are left out at ``(..., G)`` widths, ``(..., B)``."""
        dropped: NDArray[np.bool_] = widths[..., self.block_table.leaders] == 0
        return dropped

    def _wrong(self, widths: Ints, units: Ints) -> NDArray[np.bool_]:
        """Which of ``(..., G)`` widths the network cannot have."""
        wrong: NDArray[np.bool_] = (widths < self._floors) | (widths > self.dense) | (units * self.steps != widths)
        if not self.blocks:
            return wrong
        return np.where(self.block_table.groups_of(self.dropped(widths)), widths != 0, wrong)

    def _in_words(self, vector: Ints, number: int) -> str:
        """Why a group cannot have its width."""
        group, homes = self.groups[number], [block for block in self.blocks if number in block.groups]
        together = [f"{block.name!r} ({', '.join(self.groups[g].name for g in block.groups)})" for block in homes]
        if vector[number] and self.block_table.groups_of(self.dropped(vector))[number]:
            return (
                f"group {group.name!r} cannot have {vector[number]} channels where the residual block around it is "
                f"left out: groups go together, {' or '.join(together)}"
            )
        all_or_none = f"; 0 for all groups of a residual block together, {' or '.join(together)}" if homes else ""
        return (
            f"group {group.name!r} cannot have {vector[number]} channels: allowed are multiples of {group.step} from "
            f"{max(group.step, group.floor)} to {group.channels}{all_or_none}"
        )

    def _as_vector(self, widths: Widths | None) -> Ints:
        if widths is None:
            return self.dense.copy()
        if isinstance(widths, Mapping):
            named = {self._index[self.group(name).name]: width for name, width in widths.items()}
            widths = [named.get(number, width) for number, width in enumerate(self.dense.tolist())]
        vector = _whole(widths)
        if vector.shape != self.dense.shape:
            msg = f"{vector.shape} widths given for {len(self.groups)} groups"
            raise PlanError(msg)
        return vector

    def units(self, width_matrix: ArrayLike) -> Ints:
        """Kept units of many candidates, ``(num_candidates, num_groups)``, from their kept channels.

        Raises:
            PlanError: the matrix has another shape, or holds a width that the network cannot have.
        """
        matrix = _whole(width_matrix)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.groups):
            msg = f"a width matrix has shape (candidates, {len(self.groups)}), not {matrix.shape}"
            raise PlanError(msg)
        units = matrix // self.steps if (self.steps > 1).any() else matrix
        if len(matrix) and self._wrong(matrix, units).any():
            for row in matrix:
                self.vector(row)
        return units


def _whole(widths: ArrayLike) -> Ints:
    """Widths as integers.

    Raises:
        PlanError: they are no whole numbers.
    """
    try:
        array = np.asarray(widths)
        with np.errstate(invalid="ignore"):
            whole = array.astype(np.int64, copy=False)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise PlanError(f"widths are whole numbers of channels; given: {widths!r:.200} ({error})") from error
    truths = array.dtype.kind == "b" or (isinstance(widths, Sequence) and any(isinstance(one, bool) for one in widths))
    if truths or (array.dtype.kind not in "iu" and not np.array_equal(array, whole)):
        raise PlanError(f"widths are whole numbers of channels; given: {widths!r:.200}")
    return whole


def usual_steps(groups: Sequence[ChannelGroup], most: int = USUAL[0]) -> dict[str, int]:
    """The multiples that the widths of each group should be where no layer was measured, by the group's name.

    The largest of 8 and 4, and no more than ``most``, that leaves the group four widths; else 1.
    """
    steps = [step for step in USUAL if step <= most]
    return {
        group.name: next((step for step in steps if group.channels // lcm(step, group.step) >= LEAST_WIDTHS), 1)
        for group in groups
    }


def multiple_of(round_to: RoundTo, name: str, step: int) -> int:
    """What the widths of a group of this name are multiples of, whose channels go together by ``step``."""
    return lcm(step, round_to if isinstance(round_to, int) else round_to.get(name, 1))


def multiples_in_words(multiples: Sequence[int]) -> str:
    """What widths are multiples of, one number for each group."""
    counts = Counter(multiples)
    words: list[str] = []
    for multiple, groups in sorted(counts.items(), reverse=True):
        what = f"{'' if words else 'multiples '}of {multiple}" if multiple > 1 else "any"
        words.append(what if len(counts) == 1 else f"{what} in {groups} group{'s' * (groups > 1)}")
    return ", ".join(words)


def parse_round_to(round_to: Any, groups: Sequence[ChannelGroup]) -> RoundTo:
    """Multiples as plain integers; for ``auto`` those that are usual.

    Raises:
        ParameterError: it is none of a whole number from 1 on, such numbers by group, and ``auto``; or a name is no
            group's.
    """
    if isinstance(round_to, str) and round_to == AUTO:
        return usual_steps(groups)
    if not isinstance(round_to, Mapping):
        return whole_number("`round_to`", round_to, "a whole number, numbers by group, or 'auto'")
    names = {group.name for group in groups}
    for name in round_to:
        if name not in names:
            msg = f"`round_to` names {name!r}, which is no group; groups are: {', '.join(sorted(names))}"
            raise ParameterError(msg)
    return {name: whole_number(f"`round_to` of {name}", number) for name, number in round_to.items()}


def whole_number(what: str, number: Any, kind: str = "a whole number") -> int:
    """A number of channels, from 1 on.

    Raises:
        ParameterError: it is something else; begins with ``what``.
    """
    if isinstance(number, bool) or not isinstance(number, Integral):
        msg = f"{what} is {kind}; given: {number!r:.100}"
        raise ParameterError(msg)
    if number < 1:
        msg = f"{what} must be at least 1; given: {number}"
        raise ParameterError(msg)
    return int(number)
