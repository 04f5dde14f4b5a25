"""At which widths a layer is measured, and what is read between them.

Runtimes work on blocks of 4, 8 or 16 channels, so that a time is no smooth function of the width; among widths that are
divisible alike it nearly is. Widths are therefore told apart by their *alignment*, the largest of 16, 8, 4, 2, 1 that
divides them: some of each are measured, and between them a time is interpolated among those alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eyas.deploy.latency.priced_layers import LayerShape

Ints = NDArray[np.int64]
ALIGNMENTS = (16, 8, 4, 2, 1)
_POINTS = {16: 8, 8: 8, 4: 8, 2: 3, 1: 5}
"""Widths of each alignment where one run is cheap."""
_CHEAP_MACS = 4e6


def measured_widths(reachable: Sequence[Ints], macs: float) -> list[int]:
    """Widths to measure, ascending: of every alignment the ends, and some between; fewer where a run is dear.

    Args:
        reachable: widths that may occur, ascending, of each layer; the only one of a layer is always measured.
        macs: of the dense layer; from 4 million on there are fewer points, half as many at 64 million.
    """
    share = min(1.0, (_CHEAP_MACS / max(macs, 1)) ** 0.25)
    chosen = {int(widths[0]) for widths in reachable if len(widths) == 1}
    every = np.unique(np.concatenate(reachable))
    for alignment in ALIGNMENTS:
        widths = every[np.gcd(every, 16) == alignment]
        count = max(2, round(_POINTS[alignment] * share))
        if len(widths):
            chosen |= set(widths[np.rint(np.linspace(0, len(widths) - 1, count)).astype(int)].tolist())
    return sorted(chosen)


def dense_macs(shape: LayerShape, inputs: int, outputs: int) -> float:
    """Multiply-adds of a layer at these widths, per image; strides are counted, borders are not."""
    return float(np.prod(shape.size) / np.prod(shape.stride or 1) * np.prod(shape.kernel or 1) * inputs * outputs)


class Axis:
    """Interpolation along one dimension of a grid.

    Args:
        points: the measured widths, ascending.
    """

    def __init__(self, points: Sequence[int]) -> None:
        self.points = np.array(points, dtype=np.int64)
        top = int(self.points[-1])
        self.below, self.above = (np.zeros(top + 1, dtype=np.int64) for _ in range(2))
        self.share = np.zeros(top + 1)
        """How far each width is on its way from the point ``below`` to the one ``above``."""
        self.known = np.zeros(top + 1, dtype=bool)
        """Widths between two points of their alignment, or on one."""
        for alignment in ALIGNMENTS:
            own = np.flatnonzero(np.gcd(self.points, 16) == alignment)
            if len(own):
                self._fill(alignment, own)

    def _fill(self, alignment: int, own: Ints) -> None:
        """Every width of an alignment, from the points of the same alignment: ``own`` are their numbers."""
        ends = self.points[own[[0, -1]]]
        widths = np.arange(ends[0], ends[1] + 1)
        widths = widths[np.gcd(widths, 16) == alignment]
        place = np.interp(widths, self.points[own], np.arange(len(own)))
        lower = np.minimum(place.astype(np.int64), max(len(own) - 2, 0))
        self.below[widths], self.above[widths] = own[lower], own[np.minimum(lower + 1, len(own) - 1)]
        self.share[widths], self.known[widths] = place - lower, True

    def knows(self, widths: Ints) -> NDArray[np.bool_]:
        """Whether each width can be read."""
        inside = (widths >= 0) & (widths < len(self.known))
        answer: NDArray[np.bool_] = inside & self.known[np.where(inside, widths, 0)]
        return answer
