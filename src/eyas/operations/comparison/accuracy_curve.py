"""The curve of accuracy against cost: where everything stands in the picture, in its own units of length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.report.result_table import count, percent

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 52
"""Margins."""
_ROOM = 0.06
"""Share of the range of accuracies that is left free at both ends."""


@dataclass(frozen=True)
class CurvePoint:
    """A network in the picture."""

    name: str
    words: str
    """What a reader sees who points at it."""
    x: float
    y: float
    low: float
    """End of its error bar; where nothing is known of the interval, the point itself."""
    high: float

    @property
    def is_right(self) -> bool:
        """Whether its name must stand on its left to stay in the picture."""
        return self.x > 0.7 * WIDTH


@dataclass(frozen=True)
class CurveLine:
    """Networks that were tested on the same images, cheapest first, and the dense ones they came from."""

    points: tuple[CurvePoint, ...]
    dense: tuple[CurvePoint, ...]

    @property
    def path(self) -> str:
        """The points as SVG's ``polyline`` has them."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


@dataclass(frozen=True)
class AccuracyCurve:
    """The whole picture."""

    lines: tuple[CurveLine, ...]
    costs: tuple[tuple[float, str], ...]
    """Places on the axis of MACs, and what is written there."""
    accuracies: tuple[tuple[float, str], ...]
    measure: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def accuracy_curve(comparison: Comparison) -> AccuracyCurve | None:
    """Every network whose cost and accuracy are known; None where there is none."""
    shown = [network for network in comparison.networks if math.isfinite(network.macs + network.accuracy)]
    if not shown:
        return None
    ends = [end for network in shown for end in _ends(network)]
    ends += [network.dense_accuracy for network in shown if math.isfinite(network.dense_accuracy)]
    room = _ROOM * (max(ends) - min(ends)) or 0.01
    picture = _Scale(
        costs=(0.0, 1.05 * max(max(network.macs, _or_zero(network.dense_macs)) for network in shown)),
        accuracies=(max(min(ends) - room, 0.0), min(max(ends) + room, 1.0)),
    )
    groups = ([network for network in group if network in shown] for group in comparison.groups)
    lines = tuple(_line(group, picture) for group in groups if group)
    return AccuracyCurve(lines, picture.cost_ticks(), picture.accuracy_ticks(), shown[0].measure)


@dataclass(frozen=True)
class _Scale:
    """From numbers to places."""

    costs: tuple[float, float]
    accuracies: tuple[float, float]

    def x(self, macs: float) -> float:
        low, high = self.costs
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (macs - low) / (high - low), 1)

    def y(self, accuracy: float) -> float:
        low, high = self.accuracies
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (accuracy - low) / (high - low), 1)

    def cost_ticks(self) -> tuple[tuple[float, str], ...]:
        ticks = MaxNLocator(6).tick_values(*self.costs)
        return tuple((self.x(tick), count(tick) if tick else "0") for tick in ticks if tick <= self.costs[1])

    def accuracy_ticks(self) -> tuple[tuple[float, str], ...]:
        low, high = (100 * end for end in self.accuracies)
        ticks = MaxNLocator(6).tick_values(low, high)
        return tuple((self.y(tick / 100), f"{tick:g}") for tick in ticks if low <= tick <= high)


def _line(group: Sequence[ComparedNetwork], scale: _Scale) -> CurveLine:
    dense = {
        (network.dense_macs, network.dense_accuracy): network
        for network in group
        if math.isfinite(network.dense_macs + network.dense_accuracy)
    }
    places: dict[tuple[float, float], list[ComparedNetwork]] = {}
    for network in sorted(group, key=lambda network: network.macs):
        places.setdefault((network.macs, network.accuracy), []).append(network)
    return CurveLine(
        points=tuple(_point(networks, scale) for networks in places.values()),
        dense=tuple(
            CurvePoint("dense", f"dense: {percent(accuracy)} at {count(macs)} MACs", scale.x(macs), y, y, y)
            for macs, accuracy in dense
            for y in [scale.y(accuracy)]
        ),
    )


def _point(networks: Sequence[ComparedNetwork], scale: _Scale) -> CurvePoint:
    """Networks of the same accuracy and cost."""
    network, name = networks[0], ", ".join(network.name for network in networks)
    low, high = _ends(network)
    interval = f" ({percent(low)} to {percent(high)})" if low < high else ""
    words = f"{name}: {percent(network.accuracy)}{interval} at {count(network.macs)} MACs"
    x, y = scale.x(network.macs), scale.y(network.accuracy)
    return CurvePoint(name, words, x, y, scale.y(low), scale.y(high))


def _ends(network: ComparedNetwork) -> tuple[float, float]:
    low, high = network.interval
    return (low, high) if math.isfinite(low) else (network.accuracy, network.accuracy)


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
