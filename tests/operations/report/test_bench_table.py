"""A bench on the terminal: what fits into its columns, and what measured times are worth."""

import pytest
from rich.console import Console

from eyas.deploy.latency.model_bench import Bench, BenchRow
from eyas.operations.report.bench_table import bench_table, bench_words


def row(file: str, median: float, *, batch: int = 1, p95: float | None = None) -> BenchRow:
    times = {"median": median, "q25": 0.99 * median, "q75": 1.03 * median, "p95": p95 or 1.3 * median, "p99": 20.0}
    return BenchRow(file, "onnxruntime 1.31.1", 1, batch, times, 12_345_678, 305_000)


def shown(bench: Bench, width: int) -> str:
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(bench_table(bench, width))
    return capture.get()


TWO = Bench((row("dense.onnx", 0.139), row("model.int8.onnx", 0.117)), 100, "AMD EPYC", 2)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_every_file_is_named_with_its_time_and_spread_at_any_width(width: int) -> None:
    text = shown(TWO, width)
    for words in ("dense.onnx", "model.int8.onnx", "0.139", "0.138 to 0.143", "0.116 to 0.121", "100 runs of each"):
        assert words in text
    assert max(map(len, text.splitlines())) <= width
    assert ("p99" in text) is (width > 80)


def test_what_differs_has_a_column_and_what_does_not_is_said_below() -> None:
    assert shown(TWO, 120).count("onnxruntime 1.31.1, batch 1, 1 thread") == 1
    batches = Bench((*TWO.rows, row("dense.onnx", 0.9, batch=8)), 100, "AMD EPYC", 2)
    head, *_, caption = shown(batches, 200).splitlines()
    assert "batch" in head
    assert "batch" not in caption


def test_the_fastest_is_named_where_it_surely_is() -> None:
    assert list(bench_words(TWO)) == ["model.int8.onnx is the fastest, 1.19 x faster than dense.onnx"]
    close = Bench((row("dense.onnx", 0.119), row("model.onnx", 0.117)), 100, "AMD EPYC", 2)
    (line,) = bench_words(close)
    assert line.startswith("model.onnx is as fast as dense.onnx: the middle halves of their runs overlap")
    assert list(bench_words(Bench((row("dense.onnx", 1.0),), 100, "AMD EPYC", 2))) == []
    batches = Bench((*TWO.rows, *(row(one.file, 1.0, batch=8) for one in TWO.rows)), 100, "AMD EPYC", 2)
    first, second = bench_words(batches)
    assert first.startswith("batch 1, 1 thread: model.int8.onnx is the fastest")
    assert second.startswith("batch 8, 1 thread: dense.onnx is as fast as model.int8.onnx")


def test_runs_that_were_held_up_are_told() -> None:
    (line,) = bench_words(Bench((row("dense.onnx", 0.1, p95=0.5),), 40, "AMD EPYC", 2))
    assert line == "dense.onnx: one in twenty of 40 runs took 5.0 medians or more: the machine was busy"
