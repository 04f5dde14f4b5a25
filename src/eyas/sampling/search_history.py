"""What a search has scored so far.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyas.sampling.budget import Widths


@dataclass(frozen=True)
class SearchHistory:
    """What has been scored: widths ``(n, G)`` and scores ``(n,)``, higher is better."""

    widths: Widths
    scores: NDArray[np.float64]

    @classmethod
    def empty(cls, num_groups: int) -> "SearchHistory":
        """Nothing scored yet."""
        return cls(np.empty((0, num_groups), np.int64), np.empty(0))

    def __len__(self) -> int:
        return len(self.scores)

    def extended(self, widths: Widths, scores: NDArray[np.float64]) -> "SearchHistory":
        """This history and some more of what was scored."""
        return SearchHistory(np.concatenate([self.widths, widths]), np.concatenate([self.scores, scores]))

    def best(self, count: int = 1) -> Widths:
        """The widths of the ``count`` best, best first; NaN counts as worst."""
        order = np.argsort(-np.nan_to_num(self.scores, nan=-np.inf), kind="stable")
        return self.widths[order[:count]]
