"""Profiles that are wrong, foreign or of another device."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import eyas
from eyas.deploy.latency import LatencyTable, layer_runtimes
from eyas.deploy.latency.layer_runtimes import layer_runtime
from eyas.errors import DataError, MissingExtraError, ParameterError
from tests.deploy.latency_tables import table_of


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    return table_of(eyas.trace(model.eval(), (torch.zeros(1, 1, 8, 8),)))


def changed(table: LatencyTable, **fields: object) -> str:
    return json.dumps(table.model_dump(mode="json", by_alias=True) | fields)


def test_a_table_comes_back_from_its_file(table: LatencyTable, tmp_path: Path) -> None:
    table.write(tmp_path / "device.json")
    assert LatencyTable.read(tmp_path / "device.json") == table


def test_what_is_no_table_is_told_with_the_way_to_make_one(table: LatencyTable, tmp_path: Path) -> None:
    path, whole = tmp_path / "device.json", changed(table)
    entry = table.model_dump(mode="json", by_alias=True)["entries"][1]
    wrong = {
        whole[: len(whole) // 2]: r"is no JSON, or was cut off \(",
        "": r"is no JSON, or was cut off \(",
        "[" * 100_000: "nested too deeply",
        '{"cpu": "mine"}': "is JSON, but no table of latencies",
        "[1, 2]": "is JSON, but no table of latencies",
        changed(table, version=2): "has version 2, this eyas reads 1",
        changed(table, threads=0): "threads: Input should be greater than 0",
        changed(table, batch="1"): "batch: Input should be a valid integer",
        changed(table, entries=[entry | {"milliseconds": [[1.0]]}]): r"entries\.0: .*has not one time for each of its",
        changed(table, entries=[entry | {"in": [4, 1, 2, 3]}]): "do not ascend",
        changed(table, entries=[entry | {"out": [2, 2]}]): "do not ascend",
        changed(table, entries=[entry | {"milliseconds": [[-1.0] * 1] * 4}]): "Input should be greater than 0",
        changed(table, more=1): "more: Extra inputs are not permitted",
    }
    for text, message in wrong.items():
        path.write_text(text)
        with pytest.raises(DataError, match=message) as raised:
            LatencyTable.read(path)
        assert str(path) in str(raised.value)
        assert "make it with `eyas profile --out device.json`" in str(raised.value)
    with pytest.raises(DataError, match=r"gone\.json: No such file or directory"):
        LatencyTable.read(tmp_path / "gone.json")


def test_a_profile_of_another_runtime_threads_batch_or_machine_is_refused(table: LatencyTable) -> None:
    assert table.require(runtime="onnx", threads=1, batch=1) is table
    with pytest.raises(ParameterError, match="for runtime onnx, not openvino; .*scale this one") as raised:
        table.require(runtime="openvino", threads=4, batch=8)
    assert "threads 1, not 4" in str(raised.value)
    assert "batch 1, not 8" in str(raised.value)
    with pytest.raises(ParameterError, match=r"for onnxruntime 1\.0, not onnxruntime \d"):
        table.require(here=True)
    version = layer_runtime("onnx").version()
    same = table.model_copy(update={"runtime_version": version})
    assert same.require(here=True) is same
    phone = same.device.model_copy(update={"cpu": "Cortex-A76", "cores": 4})
    with pytest.raises(ParameterError, match=r"for the device Cortex-A76 \(4 cores\), not this one"):
        same.model_copy(update={"device": phone}).require(here=True)


def test_runtimes_that_are_not_known_or_not_installed_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ParameterError, match="`runtime` 'tflite': layers can be measured in onnx"):
        layer_runtime("tflite")
    monkeypatch.setattr(layer_runtimes.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed: pip install 'eyas\[pipeline\]'"):
        layer_runtime("onnx")
