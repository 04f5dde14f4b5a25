"""A picture's axis: where a value stands on it, in percent of its length, and which values are written beside it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

_ROOM = 0.07
"""Share of the range that is left free at both ends."""


@dataclass(frozen=True)
class ChartAxis:
    """From ``low`` to ``high``."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    """Places in percent, and what is written there."""

    def place(self, value: float) -> float:
        """In percent of the axis."""
        return round(100 * (value - self.low) / (self.high - self.low), 3)


def axis_over(values: Iterable[float], title: str, *, most: float = math.inf, integer: bool = False) -> ChartAxis:
    """An axis that shows all finite values.

    Args:
        values: what it has to show.
        title: what they are, with their unit.
        most: nothing beyond is possible, so no tick stands there.
        integer: ticks are whole numbers.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = _ROOM * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - room, high + room
    ticks = MaxNLocator(5, integer=integer, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    shown = [float(tick) for tick in ticks if low <= tick <= min(high, most + 1e-9)]
    plain = ChartAxis(title, low, high, ())
    return ChartAxis(title, low, high, tuple((plain.place(tick), _text(tick)) for tick in shown))


def _text(tick: float) -> str:
    return f"{round(tick, 12) + 0.0:.6g}".replace("-", "−")
