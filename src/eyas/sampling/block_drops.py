"""Which residual blocks candidates leave out. Shapes: n candidates, P parents, B blocks, G groups."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyas.pruning.residual_block import BlockTable
from eyas.sampling.placement import ABSENT, Positions

if TYPE_CHECKING:
    from eyas.sampling.placement import Placement

Bools = NDArray[np.bool_]


class BlockDrops:
    """Draws blocks to leave out, never so many that the dense rest stays below the budget.

    Args:
        placement: of the candidates.
        most: the largest chance of a block to be left out, see :meth:`draw`.
    """

    def __init__(self, placement: "Placement", most: float) -> None:
        self.placement, self.most = placement, most
        self.table = BlockTable(placement.space.blocks, len(placement.top))

    @property
    def count(self) -> int:
        """How many blocks may be left out at all; nothing is drawn where there are none."""
        return len(self.table.blocks)

    def draw(self, candidates: int, rng: np.random.Generator) -> Bools:
        """The groups that go, ``(n, G)``: each block with a chance that is drawn per candidate, from 0 to ``most``."""
        chance_n1 = rng.uniform(0, self.most, (candidates, 1)) if self.count else np.zeros((candidates, 1))
        return self._affordable(rng.random((candidates, self.count)) < chance_n1, rng)

    def inherit(
        self, parents_PG: Positions, pairs_n2: NDArray[np.int64], switched: float, rng: np.random.Generator
    ) -> Bools:
        """The groups that go, ``(n, G)``: each block as one of a child's two parents has it, or switched by chance."""
        parents_PB = parents_PG[:, self.table.leaders] == ABSENT
        of_second_nB = rng.random((len(pairs_n2), self.count)) < 0.5
        dropped_nB = np.where(of_second_nB, parents_PB[pairs_n2[:, 1]], parents_PB[pairs_n2[:, 0]])
        return self._affordable(dropped_nB ^ (rng.random(dropped_nB.shape) < switched), rng)

    def _affordable(self, dropped_nB: Bools, rng: np.random.Generator) -> Bools:
        """The groups that go, ``(n, G)``, once blocks were put back at random where the dense rest costs too little."""
        if not self.count:
            return self.table.groups_of(dropped_nB)
        while True:
            gone_nG = self.table.groups_of(dropped_nB)
            costs_n = self.placement.costs(np.where(gone_nG, ABSENT, self.placement.top))
            poor_n = np.flatnonzero((costs_n < self.placement.budget.low) & dropped_nB.any(1))
            if not len(poor_n):
                return gone_nG
            put_back_n = (rng.random((len(poor_n), self.count)) * dropped_nB[poor_n]).argmax(1)
            dropped_nB[poor_n, put_back_n] = False
