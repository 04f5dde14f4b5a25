"""Servers that are started: no password where other users of the machine could read it."""

from pathlib import Path
from typing import Any

import psycopg2
import pytest

from eyas.errors import BadInputError, EyasError
from eyas.operations.servers import pages, processes
from eyas.operations.servers.postgres import create_databases, server_of
from eyas.storage import redact

PASSWORD = "hunter2secret"
STORE = f"postgresql+psycopg2://eyas:{PASSWORD}@127.0.0.1:5433/mlflow"


class Recorder(processes.Servers):
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
    monkeypatch.setattr(pages, "Servers", lambda _: recorder)
    monkeypatch.setattr(pages, "require_free", lambda _: None)
    return recorder


def test_mlflows_server_finds_its_store_in_the_environment_alone(recorder: Recorder) -> None:
    processes.start_mlflow(recorder, 5000, STORE, "artifacts", {"AWS_REGION": "eu"})
    command, environment = recorder.started["mlflow"]
    assert PASSWORD not in command
    assert environment == {"AWS_REGION": "eu", "MLFLOW_BACKEND_STORE_URI": STORE}


def test_mlflow_reads_that_variable() -> None:
    from mlflow.cli import server

    (option,) = (option for option in server.params if option.name == "backend_store_uri")
    assert option.envvar == processes.STORE_VARIABLE


def test_the_pages_of_a_database_are_served_without_showing_its_password(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", STORE)
    assert pages.serve_pages(tmp_path, 5000, 4200) == 0
    command, environment = recorder.started["mlflow-ui"]
    assert PASSWORD not in command
    assert environment[processes.STORE_VARIABLE] == STORE


def test_the_pages_of_a_server_are_named_without_its_password(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{PASSWORD}@server:5000")
    assert pages.serve_pages(tmp_path, 5000, 4200) == 0
    assert "MLflow   http://server:5000\n" in capsys.readouterr().out
    assert "mlflow-ui" not in recorder.started


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        f"mysql://u:{PASSWORD}@h",
        "postgresql://",
        f"postgresql://u:{PASSWORD}@h:port",
        f"postgresql://u:{PASSWORD}@h:99999",
        f"postgresql://u:{PASSWORD}@h/db",
        f"postgresql://u:{PASSWORD}/x@h",
        f"postgresql://u:{PASSWORD}@h?sslmode=require",
        "postgresql://host:5432",
    ],
)
def test_what_is_no_address_of_a_database_server_is_refused(address: str) -> None:
    with pytest.raises(BadInputError, match="expected postgresql://") as caught:
        server_of(address)
    assert PASSWORD not in redact(str(caught.value)) == str(caught.value)  # which the command line prints


@pytest.mark.parametrize("end", ["", "/"])
def test_the_address_of_a_database_server(end: str) -> None:
    assert server_of(f"postgresql://u:p%2Fw@[::1]:5432{end}") == "u:p%2Fw@[::1]:5432"


def test_a_database_server_that_refuses_ends_it_at_once_and_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What psycopg2 says to a wrong password."""
    tries: list[str] = []

    def refuse(address: str, **_: object) -> None:
        tries.append(address)
        raise psycopg2.OperationalError('FATAL:  password authentication failed for user "u"\nconnection to another\n')

    monkeypatch.setattr(psycopg2, "connect", refuse)
    with pytest.raises(EyasError, match="password authentication failed") as caught:
        create_databases(f"u:{PASSWORD}@h:5432")
    assert tries == [f"postgresql://u:{PASSWORD}@h:5432/postgres"]
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_our_own_database_server_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []

    def starting(address: str, **_: object) -> None:
        tries.append(address)
        error = psycopg2.OperationalError if len(tries) < 3 else psycopg2.ProgrammingError
        raise error("starting up" if len(tries) < 3 else "answers")

    monkeypatch.setattr(psycopg2, "connect", starting)
    with pytest.raises(EyasError, match="answers"):
        create_databases("u:p@h:5432", 30.0)
