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

    def __len__(self) -> int:
        return len(self.scores)

    def best(self, count: int = 1) -> Widths:
        """The widths of the ``count`` best, best first; NaN counts as worst."""
        order = np.argsort(-np.nan_to_num(self.scores, nan=-np.inf), kind="stable")
        return self.widths[order[:count]]

    @property
    def last_better(self) -> int:
        """The number of the first of the best: since then nothing was better."""
        return int(np.argmax(np.nan_to_num(self.scores, nan=-np.inf)))
