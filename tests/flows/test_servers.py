"""Servers that are started: no password where other users of the machine could read it."""

from pathlib import Path
from typing import Any

import pytest

from flows import servers, ui

PASSWORD = "hunter2secret"
STORE = f"postgresql+psycopg2://eyas:{PASSWORD}@127.0.0.1:5433/mlflow"


class Recorder(servers.Servers):
    """Starts nothing, and remembers what it was asked to start."""

    def __init__(self, logs: Path) -> None:
        super().__init__(logs)
        self.started: dict[str, tuple[str, dict[str, str]]] = {}

    def start(self, name: str, command: list[str], environment: Any = None, **_: Any) -> None:
        self.started[name] = (" ".join(command), dict(environment or {}))

    def wait(self) -> None:
        pass


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder(tmp_path)
    monkeypatch.setattr(ui, "Servers", lambda _: recorder)
    monkeypatch.setattr(ui, "require_free", lambda _: None)
    return recorder


def test_mlflows_server_finds_its_store_in_the_environment_alone(recorder: Recorder) -> None:
    servers.start_mlflow(recorder, 5000, STORE, "artifacts", {"AWS_REGION": "eu"})
    command, environment = recorder.started["mlflow"]
    assert PASSWORD not in command
    assert environment == {"AWS_REGION": "eu", "MLFLOW_BACKEND_STORE_URI": STORE}


def test_mlflow_reads_that_variable() -> None:
    from mlflow.cli import server

    (option,) = (option for option in server.params if option.name == "backend_store_uri")
    assert option.envvar == servers.STORE_VARIABLE


def test_the_pages_of_a_database_are_served_without_showing_its_password(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", STORE)
    assert ui.serve_pages(5000, 4200) == 0
    command, environment = recorder.started["mlflow-ui"]
    assert PASSWORD not in command
    assert environment[servers.STORE_VARIABLE] == STORE


def test_the_pages_of_a_server_are_named_without_its_password(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{PASSWORD}@server:5000")
    assert ui.serve_pages(5000, 4200) == 0
    assert "MLflow   http://server:5000\n" in capsys.readouterr().out
    assert "mlflow-ui" not in recorder.started
