"""The curve of accuracy against cost: the networks of each test set on a line, and the dense ones they came from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.report.charts import Chart, Ends
from eyas.operations.report.label_places import with_label_places
from eyas.operations.report.pictures import unit
from eyas.operations.report.result_table import count, percent
from eyas.operations.report.svg_axes import axis_over

COLOURS = 4
"""Lines that differ in colour; further ones begin again."""
LONGEST_LABEL = 16
"""Characters that fit beside a point on a narrow screen; where a name is longer, points have numbers."""
_PER_CENT = 100.0


@dataclass(frozen=True)
class CostAxis:
    """What a network costs, as the axis across shows it."""

    of: Callable[[ComparedNetwork], float]
    """Of a network; NaN where that is not known."""
    axis: Callable[[float], tuple[float, str]]
    """From the largest cost: a divisor that leaves readable numbers, and the axis' title."""
    words: Callable[[ComparedNetwork], str]
    spread: Callable[[ComparedNetwork], Ends | None] = lambda _: None
    """Between which costs the middle half of the measurements lies; None of what is not measured."""


def _macs_axis(largest: float) -> tuple[float, str]:
    divisor, word = unit(largest)
    return divisor, f"MACs per image ({word})"


def _latency_words(network: ComparedNetwork) -> str:
    ends = network.latency_quartiles
    return f"{network.latency_ms:.3g} ms" + (f" ({ends[0]:.3g} to {ends[1]:.3g} ms)" if ends else "")


MACS = CostAxis(lambda one: one.macs, _macs_axis, lambda one: f"{count(one.macs)} MACs")
LATENCY = CostAxis(
    lambda one: one.latency_ms, lambda _: (1.0, "latency, median (ms)"), _latency_words,
    lambda one: one.latency_quartiles,
)  # fmt: skip


@dataclass(frozen=True)
class _Point:
    """Networks of the same accuracy and cost."""

    shape: str
    names: tuple[str, ...]
    network: ComparedNetwork
    cost: CostAxis

    @property
    def ends(self) -> Ends | None:
        """Of the interval of its accuracy, in percent; a dense network's is left out, so that bars stay apart."""
        low, high = self.network.interval
        is_known = math.isfinite(low) and self.network.kind != "dense"
        return (_PER_CENT * low, _PER_CENT * high) if is_known else None

    @property
    def words(self) -> str:
        """All of it, for the legend."""
        low, high = self.network.interval
        interval = f" ({percent(low)} to {percent(high)})" if self.ends else ""
        name, cost = ", ".join(self.names), self.cost.words(self.network)
        return f"{name}: {percent(self.network.accuracy)}{interval} at {cost}"


def latency_curve(comparison: Comparison) -> Chart | None:
    """:func:`accuracy_curve` against latency; None also where latencies were timed in different ways."""
    return None if comparison.timed_differently else accuracy_curve(comparison, LATENCY)


def accuracy_curve(comparison: Comparison, cost: CostAxis = MACS) -> Chart | None:
    """Every network whose cost and accuracy are known; None where there is none."""
    lines = [_points(group, number, cost) for number, group in enumerate(comparison.groups)]
    lines = [line for line in lines if line]
    if not lines:
        return None
    points = [point for line in lines for point in line] + list(_dense(comparison, cost))
    costs = [value for one in points for value in (cost.of(one.network), *(cost.spread(one.network) or ()))]
    divisor, title = cost.axis(max(costs))
    x = axis_over([0.0, *(value / divisor for value in costs)], title)
    x = replace(x, ticks=tuple(tick for tick in x.ticks if tick[0] >= x.place(0)))
    heights = [_PER_CENT * point.network.accuracy for point in points]
    heights += [end for point in points for end in point.ends or ()]
    empty = Chart("", x, axis_over(heights, f"test {lines[0][0].network.measure} (%)", most=_PER_CENT))
    are_short = all(len(", ".join(point.names)) <= LONGEST_LABEL for point in points)
    marks, legend = [], []
    for number, point in enumerate(points, start=1):
        at = cost.of(point.network) / divisor, _PER_CENT * point.network.accuracy
        across = cost.spread(point.network)
        x_bar = None if across is None else (across[0] / divisor, across[1] / divisor)
        label = ", ".join(point.names) if are_short else str(number)
        marks.append(empty.mark(point.shape, at, point.words, x_bar=x_bar, y_bar=point.ends, label=label))
        legend.append((point.shape, point.words if are_short else f"{number}. {point.words}"))
    curves, first = [], 0
    for line in lines:
        places = marks[first : first + len(line)]
        curves.append((line[0].shape, " ".join(f"{mark.x},{mark.y:.3f}" for mark in places)))
        first += len(line)
    return with_label_places(replace(empty, marks=tuple(marks), curves=tuple(curves), legend=tuple(legend)))


def _points(group: Sequence[ComparedNetwork], number: int, cost: CostAxis) -> list[_Point]:
    """Networks that were tested on the same images, cheapest first."""
    places: dict[Ends, list[ComparedNetwork]] = {}
    for network in sorted((one for one in group if _is_known(one, cost)), key=cost.of):
        places.setdefault((cost.of(network), network.accuracy), []).append(network)
    shape = f"network line{number % COLOURS}"
    return [_Point(shape, tuple(one.name for one in networks), networks[0], cost) for networks in places.values()]


def _dense(comparison: Comparison, cost: CostAxis) -> Iterator[_Point]:
    numbers = {id(network): number for number, group in enumerate(comparison.groups) for network in group}
    for dense, own in comparison.dense:
        if _is_known(dense, cost) and any(_is_known(one, cost) for one in own):
            yield _Point(f"dense line{numbers[id(own[0])] % COLOURS}", (dense.name,), dense, cost)


def _is_known(network: ComparedNetwork, cost: CostAxis) -> bool:
    return math.isfinite(cost.of(network) + network.accuracy)
