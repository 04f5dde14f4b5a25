"""Where a chart's labels stand: beside their points, clear of bars, lines and each other, on a narrow screen too."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, product

from eyas.operations.report.charts import Chart, Ends, Mark

SIZES = ((270.0, 210.0), (310.0, 260.0), (420.0, 250.0), (960.0, 250.0), (960.0, 340.0))
"""Pixels across and upwards of the plots that pages draw, from the narrowest screen to the widest."""
_CHARACTER, _HEIGHT, _CLEAR = 7.6, 17.0, 10.0
"""Pixels of a bold letter, of a line of text, and between a label and its point."""
_OUTSIDE = 10.0
"""Pixels that a label may stand out of the plot."""
Place = tuple[float, float, str]
"""Pixels right of the point and below it, and which end of the text stands there."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True)
class _Plot:
    """What is drawn in one size."""

    width: float
    height: float

    def at(self, x: float, y: float) -> Ends:
        """Pixels of a place in percent."""
        return x * self.width / 100, y * self.height / 100

    def box(self, mark: Mark, place: Place) -> Box:
        """Of a label."""
        (x, y), (right, below, anchor), long = self.at(mark.x, mark.y), place, _CHARACTER * len(mark.label)
        left = x + right - {"start": 0.0, "middle": long / 2, "end": long}[anchor]
        return left, y + below - _HEIGHT / 2, left + long, y + below + _HEIGHT / 2

    def holds(self, box: Box) -> bool:
        """Whether a box lies in the plot, or hardly beyond."""
        left, top, right, bottom = box
        inside = left >= -_OUTSIDE and top >= -_OUTSIDE
        return inside and right <= self.width + _OUTSIDE and bottom <= self.height


def with_label_places(chart: Chart) -> Chart:
    """The chart with a place for each label; one that finds none goes, for the legend has its words."""
    taken: list[list[Box]] = [[] for _ in SIZES]
    placed: dict[int, Mark] = {}
    plots = [_Plot(*size) for size in SIZES]
    points = [mark for mark in chart.marks if not mark.shape.startswith("candidate")]
    obstacles = [list(_obstacles(chart, plot)) for plot in plots]
    for number, mark in enumerate(chart.marks):
        if not mark.label:
            continue
        for near, place in product((26.0, 8.0), _places()):
            boxes = [plot.box(mark, place) for plot in plots]
            if all(
                plot.holds(box)
                and not any(_crosses(box, line) for line in lines)
                and not any(
                    _is_near(box, plot.at(other.x, other.y), 7.0 if other is mark else near) for other in points
                )
                and not any(_overlap(box, other) for other in others)
                for plot, box, lines, others in zip(plots, boxes, obstacles, taken, strict=True)
            ):
                placed[number] = replace(mark, label_place=place)
                for others, box in zip(taken, boxes, strict=True):
                    others.append(box)
                break
        else:
            placed[number] = replace(mark, label="")
    return replace(chart, marks=tuple(placed.get(number, mark) for number, mark in enumerate(chart.marks)))


def _places() -> Iterator[Place]:
    """Beside the point, level with it, then further and further above and below."""
    for below in (0.0, -14.0, 14.0, -24.0, 24.0, -36.0, 36.0):
        yield _CLEAR, below, "start"
        yield -_CLEAR, below, "end"
        if below:
            yield 0.0, below, "middle"


def _obstacles(chart: Chart, plot: _Plot) -> Iterator[tuple[Ends, Ends]]:
    """Lines that no label may touch: bars and curves."""
    for mark in chart.marks:
        if mark.y_bar:
            yield plot.at(mark.x, mark.y_bar[0]), plot.at(mark.x, mark.y_bar[1])
        if mark.x_bar:
            yield plot.at(mark.x_bar[0], mark.y), plot.at(mark.x_bar[1], mark.y)
    for _, points in chart.curves:
        places = [plot.at(*map(float, point.split(","))) for point in points.split()]
        yield from pairwise(places)


def _crosses(box: Box, line: tuple[Ends, Ends], steps: int = 200) -> bool:
    """Whether a line runs through a box, looked at step by step."""
    (x, y), (to_x, to_y) = line
    left, top, right, bottom = box
    for step in range(steps + 1):
        share = step / steps
        if left - 2 <= x + share * (to_x - x) <= right + 2 and top <= y + share * (to_y - y) <= bottom:
            return True
    return False


def _is_near(box: Box, point: Ends, across: float) -> bool:
    """Whether a label comes so near to a point, in pixels across, that it touches it or could be taken for its own."""
    upwards = 0.4 * across
    left, top, right, bottom = box
    return left - across < point[0] < right + across and top - upwards < point[1] < bottom + upwards


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
