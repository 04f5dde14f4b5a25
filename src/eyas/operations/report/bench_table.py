"""A bench as a table for the terminal, in words, and as a picture."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.deploy.latency.model_bench import Bench, BenchRow
from eyas.operations.report.latency_words import NOISY, held_up
from eyas.operations.run_times import RunTimes

if TYPE_CHECKING:
    from rich.table import Table

SETTING = ("runtime", "batch", "threads")
"""Columns only where files differ in them; else the line below the table says them."""
HEADER = ("file", *SETTING, "median ms", "25 to 75 %", "p95", "p99", "images/s", "peak MiB", "size kB")
SPARED = ("p99", "peak MiB", "images/s", "p95")
"""Columns that a narrow terminal does without, the first one first; ``--json`` has all."""


def bench_table(bench: Bench, width: int) -> "Table":
    """One line per file, batch and number of threads, to be printed by a ``rich`` console of so many columns."""
    alike = {name: {texts(row)[name] for row in bench.rows} for name in SETTING}
    columns = [name for name in HEADER if len(alike.get(name, ())) != 1]
    for spared in SPARED:
        if _width(bench, columns) > width:
            columns.remove(spared)
    return _table(bench, columns, _caption(bench, columns))


def _width(bench: Bench, columns: Sequence[str]) -> int:
    from rich.console import Console

    return Console(width=10_000).measure(_table(bench, columns)).maximum


def _table(bench: Bench, columns: Sequence[str], caption: str = "") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, caption=caption, caption_justify="left")
    for name in columns:
        is_name = name in {"file", "runtime"}
        table.add_column(name, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name)
    for row in bench.rows:
        table.add_row(*(texts(row)[name] for name in columns))
    return table


def _caption(bench: Bench, columns: Sequence[str]) -> str:
    row = bench.rows[0]
    threads = f"{row.threads} thread{'' if row.threads == 1 else 's'}"
    settings = {"runtime": row.runtime, "batch": f"batch {row.batch}", "threads": threads}
    alike = ", ".join(text for name, text in settings.items() if name not in columns)
    return ", ".join(filter(None, (f"{bench.runs} runs of each in turns", alike, f"{bench.cpu} ({bench.cores} cores)")))


def texts(row: BenchRow) -> dict[str, str]:
    """A line's texts by the column's name."""
    times = {name: f"{row.milliseconds[name]:.3g}" for name in ("median", "q25", "q75", "p95", "p99")}
    return {
        "file": row.file,
        "runtime": row.runtime,
        "batch": str(row.batch),
        "threads": str(row.threads),
        "median ms": times["median"],
        "25 to 75 %": f"{times['q25']} to {times['q75']}",
        "p95": times["p95"],
        "p99": times["p99"],
        "images/s": f"{row.images_per_second:.0f}",
        "peak MiB": f"{row.peak_bytes / 2**20:.1f}",
        "size kB": f"{row.bytes / 1e3:.0f}",
    }


def bench_words(bench: Bench) -> Iterator[str]:
    """Which file is the fastest at each batch and number of threads, whether surely so, and where runs were held up."""
    settings = list(dict.fromkeys((row.batch, row.threads) for row in bench.rows))
    for setting in settings:
        rows = sorted(_at(bench, setting), key=lambda row: row.milliseconds["median"])
        if len(rows) > 1:
            batch, threads = setting
            where = f"batch {batch}, {threads} thread{'' if threads == 1 else 's'}: " if len(settings) > 1 else ""
            yield where + _fastest(*rows)
    for row in bench.rows:
        if row.milliseconds["p95"] > NOISY * row.milliseconds["median"]:
            yield f"{row.file}: {held_up(row.milliseconds, bench.runs)}"


def _fastest(first: BenchRow, *others: BenchRow) -> str:
    """The file with the lowest median, beside the others."""
    times = RunTimes.of(first.milliseconds)
    as_fast = [row.file for row in others if times.overlaps(RunTimes.of(row.milliseconds))]
    if as_fast:
        words = "the middle halves of their runs overlap, so that the difference is within the noise"
        return f"{first.file} is as fast as {', '.join(as_fast)}: {words}"
    ratio = others[0].milliseconds["median"] / first.milliseconds["median"]
    return f"{first.file} is the fastest, {ratio:.2f} x faster than {others[0].file}"


def _at(bench: Bench, setting: tuple[int, int]) -> list[BenchRow]:
    return [row for row in bench.rows if (row.batch, row.threads) == setting]


def draw_bench(bench: Bench, path: Path) -> None:
    """Medians as bars, with lines up to the 95th percentile; one panel per batch and number of threads."""
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys((row.batch, row.threads) for row in bench.rows))
    figure = Figure(figsize=(7, 1 + 0.4 * len(bench.rows) + 0.6 * len(settings)), layout="constrained")
    panels = figure.subplots(len(settings), squeeze=False)[:, 0]
    for panel, (batch, threads) in zip(panels, settings, strict=True):
        rows = _at(bench, (batch, threads))
        medians = [row.milliseconds["median"] for row in rows]
        beyond = [max(0.0, row.milliseconds["p95"] - row.milliseconds["median"]) for row in rows]
        panel.barh([row.file for row in rows], medians, xerr=[[0.0] * len(rows), beyond], color="tab:blue")
        panel.invert_yaxis()
        panel.set_title(f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}", fontsize=9, loc="left")
        panel.set_xlabel("milliseconds per run: median, and up to the 95th percentile")
    figure.savefig(path)
