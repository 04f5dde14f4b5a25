"""A bench: every file at every batch and number of threads, named apart, with what it weighs and takes."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from eyas.deploy.latency import model_bench
from eyas.deploy.latency.interleaved_timing import time_interleaved
from eyas.deploy.latency.model_bench import bench, model_files, unique_names
from eyas.deploy.latency.peak_memory import peak_memory
from eyas.errors import DataError, ExportError, MissingExtraError, ParameterError


def write_onnx(path: Path, shape: tuple[int | str, ...] = ("n", 1, 4, 4), megabytes: int = 0) -> Path:
    """A file that adds a constant of so many megabytes to the images, summed up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image, answer = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", "logits"))
    weight = helper.make_tensor(
        "w", TensorProto.FLOAT, [max(1, megabytes * 250_000)], [0.0] * max(1, megabytes * 250_000)
    )
    nodes = [
        helper.make_node("Relu", ["w"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["s"], keepdims=0),
        helper.make_node("Add", ["images", "s"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "g", [image], [answer], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_runs_take_turns_and_warm_up_is_left_out() -> None:
    calls: list[str] = []
    seconds = time_interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, runs=3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3}


def test_a_file_whose_process_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"gone\.onnx: the process that measures its memory failed \(.*no such file"):
        peak_memory(tmp_path / "gone.onnx", (1, 4, 4), [1])


def test_every_file_at_every_setting(tmp_path: Path) -> None:
    small, large = write_onnx(tmp_path / "small.onnx"), write_onnx(tmp_path / "large.onnx", megabytes=40)
    result = bench([small, large], threads=(1, 2), batches=(3,), runs=4)
    rows = {(row.file, row.threads, row.batch): row for row in result.rows}
    assert set(rows) == {(name, threads, 3) for name in ("small.onnx", "large.onnx") for threads in (1, 2)}
    for row in rows.values():
        assert 0 < row.milliseconds["median"] <= row.milliseconds["p95"] <= row.milliseconds["p99"]
        assert row.images_per_second == pytest.approx(3000 / row.milliseconds["median"])
        assert row.bytes == (tmp_path / row.file).stat().st_size
        assert row.runtime.startswith("onnxruntime ")
    assert rows["large.onnx", 1, 3].peak_bytes - rows["small.onnx", 1, 3].peak_bytes > 30e6
    numbers = result.metrics()
    assert numbers["small.onnx.batch3.threads2.p99_ms"] == rows["small.onnx", 2, 3].milliseconds["p99"]
    assert numbers["large.onnx.bytes"] == rows["large.onnx", 1, 3].bytes
    assert result.as_dict()["rows"][0]["file"] == "small.onnx"


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [write_onnx(tmp_path / folder / "model.onnx") for folder in ("a/x", "b/x")]
    assert list(unique_names(files)) == ["a/x/model.onnx", "b/x/model.onnx"]
    assert list(unique_names(files[:1])) == ["model.onnx"]
    with pytest.raises(ParameterError, match="a file is named twice"):
        unique_names([files[0], files[0]])


def test_a_folder_gives_its_models_and_what_lies_beside_a_model_is_left_out(tmp_path: Path) -> None:
    names = ("model.bin", "model.int8.layers.json", "model.int8.onnx", "model.xml", "notes.txt")
    for name in names:
        (tmp_path / name).touch()
    models = [tmp_path / "model.int8.onnx", tmp_path / "model.xml"]
    assert model_files([tmp_path]) == models
    assert model_files([tmp_path / name for name in names]) == [*models, tmp_path / "notes.txt"]  # refused by its name
    with pytest.raises(DataError, match=r"model\.bin: no exported model there"):
        model_files([tmp_path / "model.bin"])


def test_what_cannot_be_measured_is_refused_before_any_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_bench, "peak_memory", lambda *_: {1: 0})
    with pytest.raises(DataError, match=r"gone\.onnx: there is no such file"):
        bench([tmp_path / "gone.onnx"])
    free = write_onnx(tmp_path / "free.onnx", ("n", 1, "h", "w"))
    with pytest.raises(ParameterError, match=r"free\.onnx takes images of \(1, \?, \?\): give their shape"):
        bench([free])
    with pytest.raises(ParameterError, match=r"takes images of \(1, \?, \?\)"):
        bench([free], shape=(3, 4, 4))
    assert bench([free], shape=(1, 5, 6), runs=1).rows[0].batch == 1
    other = tmp_path / "model.xml"
    other.write_text("<net/>")
    monkeypatch.setattr("eyas.deploy.runtimes.openvino_runtime.OpenvinoRuntime.package", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"no_such_package is not installed: pip install 'eyas\[openvino\]'"):
        bench([free, other], shape=(1, 4, 4))
