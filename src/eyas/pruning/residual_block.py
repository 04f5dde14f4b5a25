"""Residual blocks that can be left out: those whose shortcut is an identity, ``y = x + branch(x)``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ResidualBlock:
    """A branch that can go whole, so that its block answers with its input; its groups are then 0 wide together."""

    name: str
    """The module that adds."""
    own: tuple[int, ...]
    """Numbers of the groups that live in this branch and in no smaller one inside it; never empty."""
    groups: tuple[int, ...]
    """Numbers of all groups that live in it."""
    layers: tuple[str, ...]
    """Modules that run in the branch alone, the outermost ones."""
    tensors: tuple[str, ...]
    """Parameters and buffers that go with it, by their first names, those of ``layers`` among them."""

    def renumbered(self, numbers: Mapping[int, int]) -> Self:
        """The block where only the groups that ``numbers`` names are left, under new numbers."""
        own, groups = (tuple(numbers[g] for g in old if g in numbers) for old in (self.own, self.groups))
        return replace(self, own=own, groups=groups)


@dataclass(frozen=True)
class BlockTable:
    """Which groups are 0 wide with which block. Shapes: G groups, B blocks."""

    blocks: tuple[ResidualBlock, ...]
    num_groups: int

    @cached_property
    def members(self) -> NDArray[np.bool_]:
        """Whether a group lives in a block, ``(B, G)``."""
        members_BG = np.zeros((len(self.blocks), self.num_groups), dtype=bool)
        for row, block in zip(members_BG, self.blocks, strict=True):
            row[list(block.groups)] = True
        return members_BG

    @cached_property
    def leaders(self) -> NDArray[np.int64]:
        """A group of each block that no smaller block holds, ``(B,)``: 0 wide where the block is left out."""
        return np.array([block.own[0] for block in self.blocks], dtype=np.int64)

    def groups_of(self, dropped_nB: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The groups that go with the blocks, ``(..., G)`` from ``(..., B)``."""
        return dropped_nB @ self.members


def blocks_to_json(blocks: Iterable[ResidualBlock]) -> list[dict[str, Any]]:
    """As plain data."""
    return [{name: value if name == "name" else list(value) for name, value in vars(block).items()} for block in blocks]


def blocks_from_json(content: Iterable[Mapping[str, Any]]) -> tuple[ResidualBlock, ...]:
    """What :func:`blocks_to_json` gave."""
    return tuple(
        ResidualBlock(block["name"], *(tuple(block[key]) for key in ("own", "groups", "layers", "tensors")))
        for block in content
    )
