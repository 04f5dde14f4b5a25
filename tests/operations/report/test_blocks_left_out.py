"""Which residual blocks the winner leaves out stands in the result's table, where depth was searched."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eyas.operations.report import read_results, result_rows
from tests.support.workspace import write_workspace

ROW = "residual blocks left out"


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=12)


def add_blocks(artifacts: Path, *own: list[int]) -> None:
    path = artifacts / "sample/space.json"
    space = json.loads(path.read_text())
    space["blocks"] = [
        {"name": f"layer{n}", "own": groups, "groups": groups, "layers": [], "tensors": []}
        for n, groups in enumerate(own, start=1)
    ]
    path.write_text(json.dumps(space))


def without_groups(artifacts: Path, *groups: int) -> None:
    """The winner keeps nothing of these."""
    path = artifacts / "score/candidates.parquet"
    table = pq.read_table(path)
    best = table["rank"].to_pylist().index(1)
    widths = table["widths"].to_pylist()
    widths[best] = [0 if number in groups else width for number, width in enumerate(widths[best])]
    place = table.column_names.index("widths")
    pq.write_table(table.set_column(place, "widths", [widths]), path)


def test_without_depth_there_is_no_row(artifacts: Path) -> None:
    assert ROW not in [row.name for row in result_rows(read_results(artifacts))]


@pytest.mark.parametrize(
    ("gone", "pruned", "change"),
    [((), "none", "0 of 2"), ((1,), "layer2", "1 of 2"), ((0, 1), "layer1, layer2", "2 of 2")],
)
def test_the_row_names_what_is_left_out(artifacts: Path, gone: tuple[int, ...], pruned: str, change: str) -> None:
    add_blocks(artifacts, [0], [1])
    without_groups(artifacts, *gone)
    (row,) = (row for row in result_rows(read_results(artifacts)) if row.name == ROW)
    assert (row.dense, row.pruned, row.change) == ("", pruned, change)


def test_of_many_the_first_are_named(artifacts: Path) -> None:
    results = replace(read_results(artifacts), blocks=tuple("abcdefg"), left_out=tuple("abcde"))
    (row,) = (row for row in result_rows(results) if row.name == ROW)
    assert (row.pruned, row.change) == ("a, b, c and 2 more", "5 of 7")
