"""The report's table of formats: what was measured, what is recommended, what is missing."""

from types import SimpleNamespace
from typing import Any

from eyas.operations.report.format_table import format_table
from eyas.operations.report.result_table import recommended_row

TIMES = {"dense": {"median": 2.0, "p95": 3.0}, "model": {"median": 1.0, "p95": 1.25}}


def results(**latency: Any) -> Any:
    return SimpleNamespace(latency={"milliseconds": TIMES, **latency})


def test_one_format_needs_no_table_and_no_row() -> None:
    only = {"name": "model", "reason": "the only format", "others": {}}
    for one in (results(), results(recommended=only, not_measured={})):
        assert format_table(one) == ""
        assert recommended_row(one) == []


def test_the_recommended_file_stands_with_its_reason_and_the_others_with_theirs() -> None:
    chosen = {"name": "onnx_int8", "reason": "1.50 x faster than float32 ONNX, more", "others": {"pt2": "3 x slower"}}
    one = results(recommended=chosen, not_measured={"openvino": "openvino is not installed"})
    text = format_table(one)
    assert "| model | 1 ms | 1.25 ms |" in text
    assert "**Recommended for this device: onnx_int8**: 1.50 x faster than float32 ONNX, more." in text
    assert text.endswith("- pt2: 3 x slower.\n- openvino was not measured: openvino is not installed.")
    (row,) = recommended_row(one)
    assert (row.name, row.pruned, row.change) == ("recommended file", "onnx_int8", "1.50 x faster than float32 ONNX")
