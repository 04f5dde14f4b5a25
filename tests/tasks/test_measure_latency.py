"""Latency is measured once per machine, files and settings, and lies where no stage's hash sees it."""

import json
from pathlib import Path

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from eyas.config import ExportParams
from eyas.deploy.runtimes import Runtime
from eyas.operations.report import LATENCY
from tasks import measure_latency
from tasks.measure_latency import exported_files, write_latency

ROOT = Path(__file__).resolve().parents[2]


def write_onnx(path: Path, shift: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 2, 2])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, 2, 2])
    constant = helper.make_tensor("shift", TensorProto.FLOAT, [1], [shift])
    graph = helper.make_graph(
        [helper.make_node("Add", ["images", "shift"], ["logits"])], "g", [images], [logits], [constant]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    for number, name in enumerate(("dense.onnx", "model.onnx", "formats/model.int8.onnx")):
        write_onnx(tmp_path / "export" / name, number)
    (tmp_path / "export" / "manifest.json").write_text(json.dumps({"input": {"shape": [1, 2, 2]}}))
    return tmp_path


SETTINGS = ExportParams(exporters=("onnx", "onnx_int8"), latency_runs=5)


def test_every_file_is_measured_side_by_side(artifacts: Path) -> None:
    measured = write_latency(SETTINGS, artifacts)
    assert json.loads((artifacts / LATENCY).read_text()) == measured
    assert set(measured["milliseconds"]) == set(measured["files"]) == {"dense", "model", "onnx_int8"}
    assert all(0 < times["median"] <= times["p95"] for times in measured["milliseconds"].values())
    assert (measured["runs"], measured["batch"], measured["threads"]) == (5, 1, 1)


def test_the_same_files_are_not_measured_twice(artifacts: Path) -> None:
    first = write_latency(SETTINGS, artifacts)
    written = (artifacts / LATENCY).stat().st_mtime_ns
    assert write_latency(SETTINGS, artifacts) == first
    assert (artifacts / LATENCY).stat().st_mtime_ns == written


@pytest.mark.parametrize("changed", ["file", "runs", "batch", "threads", "processor", "formats"])
def test_what_was_measured_otherwise_is_measured_again(
    artifacts: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, settings = write_latency(SETTINGS, artifacts), SETTINGS
    if changed == "file":
        write_onnx(artifacts / "export" / "model.onnx", 7.0)
    elif changed == "processor":
        monkeypatch.setattr(measure_latency, "cpu_name", lambda: "another machine's")
    elif changed == "formats":
        settings = ExportParams(latency_runs=5)
    else:
        name = changed if changed == "threads" else f"latency_{changed}"
        settings = SETTINGS.model_copy(update={name: 2})
    second = write_latency(settings, artifacts)
    assert second != first
    assert second["milliseconds"] != first["milliseconds"]


def test_names_are_those_of_the_report_and_each_precision_has_one() -> None:
    files = exported_files(ExportParams(exporters=("onnx_int8", "openvino")), Path("export"))
    assert {name: (path.as_posix(), runtime.kind) for name, (path, runtime) in files.items()} == {
        "dense": ("export/dense.onnx", "onnx"),
        "model": ("export/model.onnx", "onnx"),
        "onnx_int8": ("export/formats/model.int8.onnx", "onnx"),
        "openvino": ("export/formats/model.xml", "openvino"),
        "openvino (default precision)": ("export/formats/model.xml", "openvino"),
    }
    assert files["openvino"][1] != files["openvino (default precision)"][1]


def test_a_file_whose_runtime_is_not_installed_is_left_out_and_said(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime.members()["openvino"], "installed", classmethod(lambda _: False))
    settings = ExportParams(exporters=("onnx_int8", "openvino"), latency_runs=2)
    measured = write_latency(settings, artifacts)
    assert set(measured["milliseconds"]) == {"dense", "model", "onnx_int8"}
    assert measured["not_measured"]["openvino"] == "openvino is not installed"


def test_the_recommended_file_follows_accuracy_and_time_and_the_limit(artifacts: Path) -> None:
    first = write_latency(SETTINGS, artifacts)
    assert "recommended" not in first
    facts = {"alternatives": {}, "bytes": 10}
    accuracies = {"dense": 0.9, "model": 0.9, "onnx_int8": 0.5}
    content = {name: facts | {"accuracy": accuracy} for name, accuracy in accuracies.items()}
    (artifacts / "export/files.json").write_text(json.dumps(content))
    second = write_latency(SETTINGS, artifacts)
    assert second["milliseconds"] == first["milliseconds"]
    assert second["recommended"]["name"] == "model"
    assert set(second["recommended"]["others"]) == {"onnx_int8"}
    assert "accuracy −40.00 points (more than the 1 allowed)" in second["recommended"]["others"]["onnx_int8"]
    assert json.loads((artifacts / LATENCY).read_text()) == second
    without = SETTINGS.model_copy(update={"runtimes": (Runtime.parse("openvino"),)})
    assert write_latency(without, artifacts)["recommended"] == {
        "name": "model",
        "reason": "the only format",
        "others": {},
    }


def test_no_stage_has_a_measured_time_as_output_and_dvc_shows_it_yet() -> None:
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert pipeline["metrics"] == [f"artifacts/{LATENCY}"]
    assert not any("latency" in str(out) for stage in pipeline["stages"].values() for out in stage["outs"])
