"""Labels of charts stand clear of bars, lines and each other in plots of every size."""

from dataclasses import replace

import pytest

from eyas.operations.report.charts import Chart
from eyas.operations.report.label_places import SIZES, _crosses, _obstacles, _overlap, _Plot, with_label_places
from eyas.operations.report.svg_axes import axis_over

LATENCIES = {"macs=0.25": (0.304, 86.23), "macs=0.5": (0.407, 90.58), "dense": (0.61, 91.3)}


def chart(places: dict[str, tuple[float, float]], *, bars: bool = True) -> Chart:
    empty = Chart("", axis_over([0, *(x for x, _ in places.values())], "ms"), axis_over([79, 95], "accuracy"))
    marks = tuple(
        empty.mark("network", at, name, label=name, y_bar=(at[1] - 5, at[1] + 4) if bars else None,
                   x_bar=(at[0] - 0.03, at[0] + 0.08) if bars else None)
        for name, at in places.items()
    )  # fmt: skip
    line = " ".join(f"{mark.x},{mark.y}" for mark in marks[:2])
    return replace(empty, marks=marks, curves=(("network", line),))


@pytest.mark.parametrize("size", SIZES)
def test_no_label_touches_a_bar_a_line_or_another_label(size: tuple[float, float]) -> None:
    placed, plot = with_label_places(chart(LATENCIES)), _Plot(*size)
    assert [mark.label for mark in placed.marks] == list(LATENCIES)
    boxes = [plot.box(mark, mark.label_place) for mark in placed.marks]
    assert not any(_crosses(box, line) for box in boxes for line in _obstacles(placed, plot))
    assert not any(_overlap(one, other) for one in boxes for other in boxes if one is not other)
    assert all(plot.holds(box) for box in boxes)


def test_a_label_that_finds_no_place_is_left_to_the_legend() -> None:
    crowd = {f"network number {number}": (0.4 + number / 1e4, 90.0) for number in range(40)}
    labels = [mark.label for mark in with_label_places(chart(crowd, bars=False)).marks]
    assert labels.count("") > 20
    assert any(labels)
