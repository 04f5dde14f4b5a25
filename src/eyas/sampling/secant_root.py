"""Zeros of many falling functions at once."""

import numpy as np
from numpy.typing import NDArray


class SecantRoot:
    """Where falling functions, one per row, cross zero: secants, and the middle of the bracket where they leave it."""

    def __init__(self, count: int, *, slope: float) -> None:
        self.x = np.zeros(count)
        self._low, self._high = np.full(count, -6.0), np.full(count, 5.0)
        self._slope = np.full(count, slope)
        self._before: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def step(self, values: NDArray[np.float64]) -> None:
        """Move every row, having seen its function's value at ``x``."""
        above = values > 0
        self._low, self._high = np.where(above, self.x, self._low), np.where(above, self._high, self.x)
        if self._before is not None:
            x, old = self._before
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = (old - values) / (self.x - x)
            self._slope = np.where(np.isfinite(slope) & (slope > 0), slope, self._slope)
        self._before = (self.x, values)
        guess = self.x + values / self._slope
        inside = (guess > self._low) & (guess < self._high)
        self.x = np.where(inside, guess, (self._low + self._high) / 2)

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Forget the rows that are done."""
        assert self._before is not None
        self._before = (self._before[0][rows], self._before[1][rows])
        self.x, self._slope = self.x[rows], self._slope[rows]
        self._low, self._high = self._low[rows], self._high[rows]
