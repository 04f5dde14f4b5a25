"""A bench as a table for the terminal, and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

from eyas.deploy.latency.model_bench import Bench, BenchRow

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("file", "runtime", "batch", "threads", "median ms", "p95", "p99", "images/s", "peak MiB", "size kB")


def bench_table(bench: Bench) -> "Table":
    """One line per file, batch and number of threads, to be printed by a ``rich`` console."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, caption=f"{bench.runs} interleaved runs each, {bench.cpu} ({bench.cores} cores)")
    for name in HEADER:
        is_name = name in {"file", "runtime"}
        table.add_column(name, justify="left" if is_name else "right", overflow="fold", no_wrap=not is_name)
    for row in bench.rows:
        table.add_row(*cells(row))
    return table


def cells(row: BenchRow) -> tuple[str, ...]:
    """A line's texts."""
    times = [f"{row.milliseconds[name]:.3g}" for name in ("median", "p95", "p99")]
    memory = (f"{row.peak_bytes / 2**20:.1f}", f"{row.bytes / 1e3:.0f}")
    return row.file, row.runtime, str(row.batch), str(row.threads), *times, f"{row.images_per_second:.0f}", *memory


def draw_bench(bench: Bench, path: Path) -> None:
    """Medians as bars, with lines up to the 95th percentile; one panel per batch and number of threads."""
    from matplotlib.figure import Figure

    settings = list(dict.fromkeys((row.batch, row.threads) for row in bench.rows))
    figure = Figure(figsize=(7, 1 + 0.4 * len(bench.rows) + 0.6 * len(settings)), layout="constrained")
    panels = figure.subplots(len(settings), squeeze=False)[:, 0]
    for panel, (batch, threads) in zip(panels, settings, strict=True):
        rows = [row for row in bench.rows if (row.batch, row.threads) == (batch, threads)]
        medians = [row.milliseconds["median"] for row in rows]
        beyond = [max(0.0, row.milliseconds["p95"] - row.milliseconds["median"]) for row in rows]
        panel.barh([row.file for row in rows], medians, xerr=[[0.0] * len(rows), beyond], color="tab:blue")
        panel.invert_yaxis()
        panel.set_title(f"batch {batch}, {threads} thread{'s' if threads > 1 else ''}", fontsize=9, loc="left")
        panel.set_xlabel("milliseconds per run: median, and up to the 95th percentile")
    figure.savefig(path)
