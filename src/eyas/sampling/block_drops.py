"""Which residual blocks candidates leave out. Shapes: n candidates, P parents, B blocks, G groups."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyas.pruning.residual_block import BlockTable
from eyas.sampling.placement import ABSENT, Positions

if TYPE_CHECKING:
    from eyas.sampling.placement import Placement

Bools = NDArray[np.bool_]


class BlockDrops:
    """Draws blocks to leave out: never so many that the dense rest stays below the budget.

    And where widths alone do not reach the budget, so many that the narrowest rest does.

    Args:
        placement: of the candidates.
        most: the largest chance of a block to be left out, see :meth:`draw`.
        floor: the lowest positions allowed, ``(G,)``.
    """

    def __init__(self, placement: "Placement", most: float, floor: Positions) -> None:
        self.placement, self.most, self.floor = placement, most, floor
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
        """The groups that go, ``(n, G)``, once blocks were put back, or left out, at random; see the class."""
        placement, budget = self.placement, self.placement.budget
        if self.count:
            self._switch(dropped_nB, True, lambda gone_nG: self._costs(gone_nG, placement.top) < budget.low, rng)
        if not placement.widths_reach:
            self._switch(dropped_nB, False, lambda gone_nG: self._costs(gone_nG, self.floor) > budget.high, rng)
        return self.table.groups_of(dropped_nB)

    def _costs(self, gone_nG: Bools, positions_G: Positions) -> NDArray[np.float64]:
        """Costs of the rest at the same positions in every row, ``(n,)``."""
        return self.placement.costs(np.where(gone_nG, ABSENT, positions_G))

    def _switch(
        self, dropped_nB: Bools, state: bool, is_wrong: Callable[[Bools], Bools], rng: np.random.Generator
    ) -> None:
        """Switch blocks of this state in place, one after the other, in the rows that are wrong and have such."""
        while True:
            wrong_n = is_wrong(self.table.groups_of(dropped_nB)) & (dropped_nB == state).any(1)
            rows_n = np.flatnonzero(wrong_n)
            if not len(rows_n):
                return
            chosen_n = (rng.random((len(rows_n), self.count)) * (dropped_nB[rows_n] == state)).argmax(1)
            dropped_nB[rows_n, chosen_n] = not state
