"""``eyas bench``: a table on the terminal, numbers as JSON, a picture, a run of MLflow, and refusals in one line."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eyas.cli.app import app
from eyas.deploy.latency import model_bench
from eyas.operations.tracking import open_store
from tests.deploy.test_model_bench import write_onnx

run = CliRunner().invoke


def test_table_json_picture_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(model_bench, "peak_memory", lambda *_: {1: 10, 2: 20})  # takes a process per file
    files = [str(write_onnx(tmp_path / name)) for name in ("a.onnx", "b.onnx")]
    options = ["--runs", "2", "--batch", "1", "--batch", "2", "--json", "out.json", "--plot", "out.png", "--mlflow"]
    done = run(app, ["bench", *files, *options])
    assert done.exit_code == 0, done.output
    assert "median ms" in done.output
    table, _, words = done.output.partition("runs of each in turns")
    assert table.count("a.onnx") == 2
    assert "a.onnx is " in words or "b.onnx is " in words
    content = json.loads((tmp_path / "out.json").read_text())
    assert [(row["file"], row["batch"]) for row in content["rows"]] == [
        ("a.onnx", 1), ("b.onnx", 1), ("a.onnx", 2), ("b.onnx", 2),
    ]  # fmt: skip
    assert (tmp_path / "out.png").read_bytes()[1:4] == b"PNG"
    store = open_store(tmp_path)
    (recorded,) = store.client.search_runs([store.experiment_id])
    assert recorded.info.run_id in done.output
    assert recorded.data.metrics["b.onnx.batch2.threads1.median_ms"] == content["rows"][3]["milliseconds"]["median"]
    assert recorded.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.onnx"], "there is no such file"),
        (["gone.onnx", "--shape", "3,x"], "give whole numbers, as in 3,224,224"),
        (["gone.onnx", "--json", "file/b.json"], "--json file/b.json: its folder cannot be made"),
        (["gone.onnx", "--plot", "file/b.png"], "--plot file/b.png: its folder cannot be made"),
        (["gone.onnx", "--plot", "b.xyz"], "--plot b.xyz: give a name that ends in .png or .svg"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    done = run(app, ["bench", *arguments])
    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1


def test_in_a_pipe_nothing_is_cut_off_and_no_setting_comes_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(model_bench, "peak_memory", lambda *_: {1: 10})
    name = "a_network_with_a_name_of_some_length.int8.onnx"
    write_onnx(tmp_path / name)
    done = run(app, ["bench", name, "--runs", "2", "--threads", "1", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert done.output.count(name) == 1
    assert "\u2026" not in done.output
