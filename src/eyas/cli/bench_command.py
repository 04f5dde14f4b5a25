"""The command ``bench``: exported files side by side."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import require_there
from eyas.cli.project import find_project
from eyas.errors import ParameterError

PICTURES = (".png", ".svg")
WIDE = 200
"""Columns where no terminal limits them: in a file or a pipe nothing is cut off."""


def bench(
    *,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Exported models, or folders of them: .onnx, .xml (with its .bin), .pte, .pt2."
        ),
    ],
    runs: Annotated[int, typer.Option(min=1, metavar="N", help="Timed runs of each, after a tenth as many.")] = 100,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Threads of each session [default: 1]; may be repeated."),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="Images per run [default: 1]; may be repeated.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="Of one image, where a file leaves it open.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", dir_okay=False, help="Write all numbers there.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Draw it, as .png or .svg.")] = None,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Record it as a run of MLflow.")] = False,
) -> int:
    """Time exported models side by side: interleaved runs, percentiles, peak memory, size.

    \b
    Examples:
      eyas bench artifacts/export/dense.onnx artifacts/export/model.onnx
      eyas bench artifacts/export/formats
      eyas bench model.onnx model.int8.onnx --threads 1 --threads 2 --batch 8 --json bench.json
    """
    from eyas.storage.local_files import require_place

    for path, option in ((json_file, "--json"), (plot, "--plot")):
        if path:
            require_place(path, option)
    if plot and plot.suffix not in PICTURES:
        msg = f"--plot {plot}: give a name that ends in {' or '.join(PICTURES)}"
        raise ParameterError(msg)
    sizes = _sizes(shape)
    require_there(*files)
    from rich.console import Console

    from eyas.deploy.latency.model_bench import bench as measure
    from eyas.deploy.latency.model_bench import model_files
    from eyas.operations.report.bench_table import bench_table, bench_words, draw_bench

    settings = {"threads": list(dict.fromkeys(threads or [1])), "batches": list(dict.fromkeys(batch or [1]))}
    result = measure(model_files(files), runs=runs, shape=sizes, **settings)
    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(bench_table(result, console.width))
    for line in bench_words(result):
        console.print(line, soft_wrap=not console.is_terminal, markup=False)
    if json_file:
        json_file.write_text(json.dumps(result.as_dict(), indent=2) + "\n")
    if plot:
        draw_bench(result, plot)
    if mlflow:
        from eyas.operations.tracking import open_store
        from eyas.operations.tracking.bench_run import record_bench

        store = open_store(find_project(Path.cwd()) or Path.cwd())
        typer.echo(f"run {record_bench(store, result)} of {store.uri}")
    return 0


def _sizes(shape: str | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    sizes = [size.strip() for size in shape.split(",")]
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        msg = f"--shape {shape!r}: give whole numbers, as in 3,224,224"
        raise ParameterError(msg)
    return tuple(map(int, sizes))
