"""Ask and tell: the loop between proposing and judging.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eyas.sampling.budget import Budget, Widths
from eyas.sampling.search_history import SearchHistory

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace
    from eyas.sampling.samplers import Sampler


class Search:
    """A sampler, asked for generations and told their scores.

    Example::

        search = Search(space, budget, sampler, seed=0)
        widths = search.ask(64)
        search.tell(widths, scores)
    """

    def __init__(self, space: "SearchSpace", budget: Budget, sampler: "Sampler", *, seed: int = 0) -> None:
        self.space, self.budget, self.sampler, self.seed = space, budget, sampler, seed
        self.history = SearchHistory.empty(len(space.groups))

    def ask(self, count: int) -> Widths:
        """Up to ``count`` candidates that were never told, ``(n, G)``; fewer where there are no more."""
        return self.sampler.ask(self.space, self.budget, count, seed=self.seed, history=self.history)

    def tell(self, widths: Widths, scores: NDArray[np.float64]) -> None:
        """Remember what ``widths`` scored."""
        self.history = self.history.extended(widths, np.asarray(scores, dtype=np.float64))
