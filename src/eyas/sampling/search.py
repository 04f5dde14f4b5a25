"""Ask and tell: what has been scored so far, and the loop between proposing and judging.

Shapes: n candidates, G channel groups in the order of ``space.groups``.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from eyas.sampling.budget import Budget, Widths

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


@dataclass(frozen=True)
class History:
    """What has been scored: widths ``(n, G)`` and scores ``(n,)``, higher is better."""

    widths: Widths
    scores: NDArray[np.float64]

    @classmethod
    def empty(cls, num_groups: int) -> "History":
        """Nothing scored yet."""
        return cls(np.empty((0, num_groups), np.int64), np.empty(0))

    def __len__(self) -> int:
        return len(self.scores)

    def told(self, widths: Widths, scores: NDArray[np.float64]) -> "History":
        """This history and some more."""
        return History(np.concatenate([self.widths, widths]), np.concatenate([self.scores, scores]))

    def best(self, count: int = 1) -> Widths:
        """The widths of the ``count`` best, best first; NaN counts as worst."""
        order = np.argsort(-np.nan_to_num(self.scores, nan=-np.inf), kind="stable")
        return self.widths[order[:count]]


class Proposer(Protocol):
    """What a search needs of a sampler."""

    def ask(
        self, space: "SearchSpace", budget: Budget, count: int, *, seed: int, history: History | None = None
    ) -> Widths:
        """Up to ``count`` width vectors that the history does not hold."""


class Search:
    """A sampler, asked for generations and told their scores.

    Example::

        search = Search(space, budget, sampler, seed=0)
        widths = search.ask(64)
        search.tell(widths, scores)
    """

    def __init__(self, space: "SearchSpace", budget: Budget, sampler: Proposer, *, seed: int = 0) -> None:
        self.space, self.budget, self.sampler, self.seed = space, budget, sampler, seed
        self.history = History.empty(len(space.groups))

    def ask(self, count: int) -> Widths:
        """Up to ``count`` candidates that were never told, ``(n, G)``; fewer where there are no more."""
        return self.sampler.ask(self.space, self.budget, count, seed=self.seed, history=self.history)

    def tell(self, widths: Widths, scores: NDArray[np.float64]) -> None:
        """Remember what ``widths`` scored."""
        self.history = self.history.told(widths, np.asarray(scores, dtype=np.float64))
