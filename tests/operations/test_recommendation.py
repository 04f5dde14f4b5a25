"""The recommended file is the fastest that holds its accuracy, and what is slower or less accurate is said."""

import pytest

from eyas.operations.recommendation import MeasuredArtifact, recommend
from eyas.operations.run_times import RunTimes


def artifact(accuracy: float, median: float, size: int = 100, spread: float = 0.01) -> MeasuredArtifact:
    return MeasuredArtifact(accuracy, RunTimes(median, median - spread, median + spread), size)


FLOAT = artifact(0.90, 2.0)


@pytest.mark.parametrize(
    ("others", "name"),
    [
        ({}, "model"),
        ({"onnx_int8": artifact(0.895, 1.0)}, "onnx_int8"),
        ({"onnx_int8": artifact(0.88, 1.0)}, "model"),  # too inaccurate
        ({"onnx_int8": artifact(0.95, 3.0)}, "model"),  # slower
        ({"onnx_int8": artifact(0.90, 1.999)}, "model"),  # as fast
        ({"onnx_int8": artifact(0.90, 1.0), "openvino": artifact(0.90, 0.8)}, "openvino"),
        ({"onnx_int8": artifact(0.90, 1.0, 30), "openvino": artifact(0.90, 1.0, 99)}, "onnx_int8"),  # a tie: smaller
    ],
)
def test_the_fastest_within_the_limit_is_recommended(others: dict[str, MeasuredArtifact], name: str) -> None:
    result = recommend({"model": FLOAT, **others}, 0.01)
    assert result.name == name
    assert set(result.others) == set(others) - {name}


def test_reasons_tell_what_was_measured() -> None:
    result = recommend({"model": FLOAT, "onnx_int8": artifact(0.895, 1.0, 30), "openvino": artifact(0.88, 4.0)}, 0.01)
    assert result.reason == "2.00 x faster than float32 ONNX, accuracy −0.50 points, 0.30 x its size"
    slower = "2.00 x slower than float32 ONNX, accuracy −2.00 points (more than the 1 allowed), 1.00 x its size"
    assert result.others == {"openvino": slower}
    alike = recommend({"model": FLOAT, "pt2": artifact(0.90, 1.995)}, 0.01)
    assert alike.reason == "no other format is surely faster at an accuracy within the limit"
    for median, spread in ((1.99, "1.98 to 2 ms"), (2.01, "2 to 2.02 ms")):  # noise either way
        alike = recommend({"model": FLOAT, "pt2": artifact(0.90, median)}, 0.01)
        assert alike.others["pt2"] == (
            f"as fast as float32 ONNX within the noise (the middle half of the runs took {spread}, of float32 ONNX "
            "1.99 to 2.01 ms), accuracy +0.00 points, 1.00 x its size"
        )
    assert recommend({"model": FLOAT}, 0.01).reason == "the only format"
