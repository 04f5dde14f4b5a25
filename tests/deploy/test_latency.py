import time
from pathlib import Path

import numpy as np
import pytest

from eyas.deploy import latency
from eyas.deploy.latency import exported_files


class Fake:
    """A session that takes a known time."""

    def __init__(self, name: str, seconds: float, calls: list[str]) -> None:
        self.name, self.seconds, self.calls = name, seconds, calls

    def get_inputs(self) -> list["Fake"]:
        return [self]

    def run(self, _outputs: None, feed: dict[str, np.ndarray]) -> None:
        assert feed[self.name].shape == (2, 1, 8, 8)
        self.calls.append(self.name)
        time.sleep(self.seconds)


def test_runs_interleave_and_warm_up_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    seconds = {"a.onnx": 0.004, "b.onnx": 0.001}
    monkeypatch.setattr(
        exported_files.onnx_runtime, "session", lambda path, threads: Fake(path.name, seconds[path.name], calls)
    )
    files = {"dense": Path("a.onnx"), "model": Path("b.onnx")}
    result = latency.measure(files, dict.fromkeys(files, (1, 8, 8)), runs=20, batch=2, threads=1)
    assert calls == ["a.onnx", "b.onnx"] * 22
    times = result["milliseconds"]
    assert 4 <= times["dense"]["q25"] <= times["dense"]["median"] <= times["dense"]["q75"] <= times["dense"]["p95"]
    assert times["model"]["median"] < times["dense"]["median"]
    assert result["cpu"]
    assert (result["runs"], result["batch"], result["threads"]) == (20, 2, 1)
