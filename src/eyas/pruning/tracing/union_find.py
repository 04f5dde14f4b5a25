"""Channel ids and which of them live or die together (a vectorised union-find with frozen classes)."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eyas.pruning.groups import FIXED

Ids = NDArray[np.int64]
"""Channel ids along one dimension; :data:`FIXED` for an entry that belongs to no channel."""


@dataclass
class UnionFind:
    """Union-find over channel ids; unions are collected and merged when roots are asked for."""

    _roots: Ids = field(default_factory=lambda: np.arange(0, dtype=np.int64))
    _pending: list[tuple[Ids, Ids]] = field(default_factory=list)
    _frozen: list[tuple[Ids, str]] = field(default_factory=list)

    def new(self, count: int) -> Ids:
        """``count`` fresh ids."""
        start = len(self._roots)
        fresh = np.arange(start, start + count, dtype=np.int64)
        self._roots = np.concatenate([self._roots, fresh])
        return fresh

    def unite(self, first: Ids, second: Ids) -> None:
        """Tie ids index by index (arrays broadcast); an id that meets a fixed entry is frozen."""
        first, second = (part.ravel() for part in np.broadcast_arrays(first, second))
        both = (first >= 0) & (second >= 0)
        self._pending.append((first[both], second[both]))
        lone = np.concatenate([first[~both], second[~both]])
        if (lone >= 0).any():
            self.freeze(lone, "is combined with entries of fixed size")

    def freeze(self, ids: Ids, reason: str) -> None:
        """Forbid the removal of ``ids`` and of all that is tied to them."""
        ids = np.unique(ids[ids >= 0])
        if len(ids):
            self._frozen.append((ids, reason))

    def roots(self) -> Ids:
        """The representative of every id."""
        if self._pending:
            first = np.concatenate([pair[0] for pair in self._pending])
            second = np.concatenate([pair[1] for pair in self._pending])
            self._pending.clear()
            self._merge(first, second)
        return self._roots

    def canonical(self, ids: Ids) -> Ids:
        """``ids`` with each id replaced by its representative; fixed entries stay fixed."""
        return np.where(ids >= 0, self.roots()[ids], FIXED)

    def reasons(self) -> dict[int, str]:
        """Why each frozen representative is frozen: the reason that came first."""
        roots = self.roots()
        reasons: dict[int, str] = {}
        for ids, reason in self._frozen:
            for root in np.unique(roots[ids]).tolist():
                reasons.setdefault(root, reason)
        return reasons

    def _merge(self, first: Ids, second: Ids) -> None:
        """Hook the larger root under the smaller one and compress paths, until no edge joins two classes."""
        roots = self._roots
        while True:
            a, b = roots[first], roots[second]
            differ = a != b
            if not differ.any():
                break
            first, second, a, b = first[differ], second[differ], a[differ], b[differ]
            np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
            while True:
                shorter = roots[roots]
                if np.array_equal(shorter, roots):
                    break
                roots = shorter
        self._roots = roots
