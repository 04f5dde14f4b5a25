"""The curve of accuracy against cost: the networks of each test set on a line, and the dense ones they came from."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from eyas.operations.comparison.compared_network import ComparedNetwork
from eyas.operations.comparison.comparison import Comparison
from eyas.operations.report.charts import Chart, Ends
from eyas.operations.report.pictures import unit
from eyas.operations.report.result_table import count, percent
from eyas.operations.report.svg_axes import axis_over

COLOURS = 4
"""Lines that differ in colour; further ones begin again."""
LONGEST_LABEL = 16
"""Characters that fit beside a point on a narrow screen; where a name is longer, points have numbers."""
_PER_CENT = 100.0


@dataclass(frozen=True)
class _Point:
    """Networks of the same accuracy and cost."""

    shape: str
    names: tuple[str, ...]
    network: ComparedNetwork

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
        name, cost = ", ".join(self.names), count(self.network.macs)
        return f"{name}: {percent(self.network.accuracy)}{interval} at {cost} MACs"


def accuracy_curve(comparison: Comparison) -> Chart | None:
    """Every network whose cost and accuracy are known; None where there is none."""
    lines = [_points(group, number) for number, group in enumerate(comparison.groups)]
    lines = [line for line in lines if line]
    if not lines:
        return None
    points = [point for line in lines for point in line] + list(_dense(comparison))
    divisor, word = unit(max(point.network.macs for point in points))
    x = axis_over([0.0, *(point.network.macs / divisor for point in points)], f"MACs per image ({word})")
    x = replace(x, ticks=tuple(tick for tick in x.ticks if tick[0] >= x.place(0)))
    heights = [_PER_CENT * point.network.accuracy for point in points]
    heights += [end for point in points for end in point.ends or ()]
    empty = Chart("", x, axis_over(heights, f"test {lines[0][0].network.measure} (%)", most=_PER_CENT))
    are_short = all(len(", ".join(point.names)) <= LONGEST_LABEL for point in points)
    marks, legend = [], []
    for number, point in enumerate(points, start=1):
        at = point.network.macs / divisor, _PER_CENT * point.network.accuracy
        label = ", ".join(point.names) if are_short else str(number)
        marks.append(empty.mark(point.shape, at, point.words, y_bar=point.ends, label=label))
        legend.append((point.shape, point.words if are_short else f"{number}. {point.words}"))
    curves, first = [], 0
    for line in lines:
        places = marks[first : first + len(line)]
        curves.append((line[0].shape, " ".join(f"{mark.x},{mark.y:.3f}" for mark in places)))
        first += len(line)
    return replace(empty, marks=tuple(marks), curves=tuple(curves), legend=tuple(legend))


def _points(group: Sequence[ComparedNetwork], number: int) -> list[_Point]:
    """Networks that were tested on the same images, cheapest first."""
    places: dict[Ends, list[ComparedNetwork]] = {}
    for network in sorted(filter(_is_known, group), key=lambda network: network.macs):
        places.setdefault((network.macs, network.accuracy), []).append(network)
    shape = f"network line{number % COLOURS}"
    return [_Point(shape, tuple(one.name for one in networks), networks[0]) for networks in places.values()]


def _dense(comparison: Comparison) -> Iterator[_Point]:
    numbers = {id(network): number for number, group in enumerate(comparison.groups) for network in group}
    for dense, own in comparison.dense:
        if _is_known(dense) and any(map(_is_known, own)):
            yield _Point(f"dense line{numbers[id(own[0])] % COLOURS}", (dense.name,), dense)


def _is_known(network: ComparedNetwork) -> bool:
    return math.isfinite(network.macs + network.accuracy)
