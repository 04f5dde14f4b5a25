"""A comparison for a terminal: whole numbers whatever the width, by turning or parting the table and folding names."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from eyas.operations.comparison.comparison import Comparison
from eyas.operations.comparison.comparison_table import comparison_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

LONGEST_CELL = 20
"""Characters of the longest number: an interval of differences."""
NARROWEST_NAME = 12
NARROWEST_HEAD = len("difference,")
_GAP = 2
_PIECES = re.compile(r".*?(?:[ ,+_/-]|\.(?=[a-z]))|.+")
Cells = list[list[str]]
"""Rows of cells, whose lines are those of the terminal."""


def console_comparison(comparison: Comparison, width: int) -> "RenderableType":
    """The table for a terminal of so many columns.

    A column for each network where all fit; else a row for each, in as many tables below each other as it takes, what
    decides first; the first one has the names whole.
    """
    from rich.console import Group

    shown = comparison_table(comparison, recorded=True)
    rows = [list(line) for line in (shown.header, *shown.rows)]
    upright = [[*line] for line in zip(*_folded(rows), strict=True)]
    notes = [line for note in shown.notes for line in ("", fold(note, width))]
    if _width(upright) <= width:
        return Group(_console_table(upright), *notes)
    rows = _of_one_model(_verdict_first(rows))
    cells = _folded(rows)
    columns = [_widest(column) for column in zip(*cells, strict=True)]
    tables: list[RenderableType] = []
    for own in _parted(columns, width):
        left = width - sum(columns[place] + _GAP for place in own)
        whole = [row[0] if not tables else row[0].partition(" (")[0] for row in rows]
        names = [fold(name, max(left, NARROWEST_NAME)) for name in whole]
        part = [[name, *(row[place] for place in own)] for name, row in zip(names, cells, strict=True)]
        tables += ["", _console_table(part)] if tables else [_console_table(part)]
    return Group(*tables, *notes)


def fold(text: str, width: int) -> str:
    """Text in lines of so many characters, broken behind the signs that part names, else anywhere."""
    lines = [""]
    for word in _PIECES.findall(text):
        if len(lines[-1]) + len(word.rstrip()) > width and lines[-1]:
            lines.append("")
        lines[-1] += word
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def _folded(rows: Cells) -> Cells:
    """Cells in lines: brackets on lines of their own, names and headers hardly wider than the numbers beside them."""
    head, *networks = rows
    cells = [[_lines(cell, LONGEST_CELL) if place else "" for place, cell in enumerate(row)] for row in networks]
    widths = [_widest(column) for column in zip(*cells, strict=True)]
    names = [_lines(row[0], max(widths)) for row in networks]
    heads = [_lines(cell, max(width, NARROWEST_HEAD)) for cell, width in zip(head, widths, strict=True)]
    return [heads, *([name, *row[1:]] for name, row in zip(names, cells, strict=True))]


def _lines(cell: str, width: int) -> str:
    """A cell in lines of about so many characters, none of them broken inside of a number or an interval."""
    pieces = cell.replace(" (", "\n(").replace(") ", ")\n").split("\n")
    return "\n".join(fold(piece, width) for piece in pieces)


def _verdict_first(rows: Cells) -> Cells:
    """The verdict behind what decides, so that both stay together."""
    if "verdict" not in rows[0]:
        return rows
    place, behind = rows[0].index("verdict"), rows[0].index("MACs") if "MACs" in rows[0] else 1
    return [[*row[:behind], row[place], *row[behind:place], *row[place + 1 :]] for row in rows]


def _of_one_model(rows: Cells) -> Cells:
    """Versions of one model by their numbers alone."""
    models = {cell.partition(" (")[2] for row in rows for cell in row[1:] if cell.startswith("version ")}
    if len(models) != 1:
        return rows
    return [[row[0], *(cell.removesuffix(f" ({model}") for cell in row[1:] for model in models)] for row in rows]


def _parted(columns: Sequence[int], width: int) -> Iterator[list[int]]:
    """Columns, the name's apart, that stand in one table: all that fit beside a name."""
    room = width - NARROWEST_NAME
    places = list(range(1, len(columns)))
    while places:
        taken = list(accumulate(columns[place] + _GAP for place in places))
        fitting = max(1, sum(end <= room for end in taken))
        yield places[:fitting]
        places = places[fitting:]


def _console_table(lines: Cells) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(lines[0]):
        table.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(Text, line))  # names are no markup
    return table


def _width(lines: Cells) -> int:
    return sum(_widest(column) + _GAP for column in zip(*lines, strict=True)) - _GAP


def _widest(column: Iterable[str]) -> int:
    return max(len(line) for cell in column for line in cell.splitlines() or [""])
