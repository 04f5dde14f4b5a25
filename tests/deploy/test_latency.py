import time
from pathlib import Path

import numpy as np
import pytest

from eyas.deploy import latency
from eyas.deploy.latency import exported_files
from eyas.deploy.runtimes import Runtime, Session


class Fake(Session):
    """A session that takes a known time."""

    input_dtype = np.dtype(np.float32)
    output_names = ("logits",)

    def __init__(self, name: str, seconds: float, calls: list[str], batch: int | None = None) -> None:
        self.name, self.seconds, self.calls, self.input_shape = name, seconds, calls, (batch, 1, 8, 8)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        assert images.shape == (self.input_shape[0] or 2, 1, 8, 8)
        assert images.dtype == np.float32
        self.calls.append(self.name)
        time.sleep(self.seconds)
        return [images]


def test_runs_interleave_and_warm_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    seconds = {"a.onnx": 0.004, "b.onnx": 0.001}
    monkeypatch.setattr(Runtime, "open", lambda _, path, threads: Fake(path.name, seconds[path.name], calls))
    files = {"dense": Path("a.onnx"), "model": Path("b.onnx")}
    result = latency.measure(files, dict.fromkeys(files, (1, 8, 8)), runs=20, batch=2, threads=1)
    assert calls == ["a.onnx", "b.onnx"] * 22
    times = result["milliseconds"]
    assert 4 <= times["dense"]["q25"] <= times["dense"]["median"] <= times["dense"]["q75"] <= times["dense"]["p95"]
    assert times["dense"]["p95"] <= times["dense"]["p99"]
    assert times["model"]["median"] < times["dense"]["median"]
    assert result["cpu"]
    assert result["runtime"].startswith("onnxruntime ")
    assert (result["runs"], result["batch"], result["threads"]) == (20, 2, 1)


def test_a_file_of_a_fixed_batch_runs_as_often_as_the_images_ask() -> None:
    calls: list[str] = []
    exported_files.call(Fake("one", 0.0, calls, batch=1), (5, 1, 8, 8))()
    exported_files.call(Fake("three", 0.0, calls, batch=3), (5, 1, 8, 8))()
    assert calls == ["one"] * 5 + ["three"] * 2
