import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from eyas.errors import ParameterError, StorageError
from eyas.operations import tracking
from eyas.operations.tracking import alias_move, model_registry
from eyas.operations.tracking.mlflow_store import retry
from eyas.storage.retry import Retry


def test_given_address_goes_before_environment_before_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/.eyas/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking.tracking_uri(tmp_path) == "http://server:5000"
    assert tracking.tracking_uri(tmp_path, "http://other:5000") == "http://other:5000"


@pytest.mark.parametrize("scheme", ["nonsense", "postgresql+nonsense"])
def test_unusable_address_is_told_with_what_to_set(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(ParameterError, match=r"`uri` and MLFLOW_TRACKING_URI") as refused:
        tracking.open_store(tmp_path, uri=f"{scheme}://user:secretword@host/x")
    assert refused.value.exit_status == 2
    assert "secretword" not in str(refused.value)


def test_the_first_store_of_a_process_prints_nothing(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from eyas.operations import tracking; tracking.open_store(Path({str(tmp_path)!r}))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def bytes_in(folder: Path, names: str) -> int:
    total = 0
    for file in folder.glob(names):
        with contextlib.suppress(FileNotFoundError):  # a journal that is done, a file that has another name now
            total += file.stat().st_size
    return total


def test_a_first_opening_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """MLflow takes a database with a part of its tables for one of an older version, and refuses it from then on."""
    uri, folder = f"sqlite:///{tmp_path}/.eyas/mlflow.db", tmp_path / ".eyas"
    code = f"from eyas.operations import tracking; tracking.open_store(Path(), uri={uri!r})"
    code = f"from pathlib import Path; {code}"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while process.poll() is None and bytes_in(folder, "mlflow.db*") < 450_000:
            time.sleep(0.01)
        process.kill()
    store = tracking.open_store(tmp_path, uri=uri)
    run = store.client.create_run(store.experiment_id)
    assert store.client.get_run(run.info.run_id).info.status == "RUNNING"
    assert {file.name for file in folder.glob("mlflow.db*")} == {"mlflow.db"}


def test_artifacts_lie_beside_the_database(store: tracking.MlflowStore) -> None:
    if not store.uri.startswith("sqlite:"):
        pytest.skip("a server knows its own place")
    place = store.client.get_experiment(store.experiment_id).artifact_location
    assert place == (store.locks / "mlartifacts").as_uri()
    assert not Path("mlruns").exists()


def test_deleted_experiment_is_restored(store: tracking.MlflowStore, tmp_path: Path) -> None:
    gone = tracking.open_store(tmp_path, uri=store.uri, experiment="gone").experiment_id
    store.client.delete_experiment(gone)
    assert tracking.open_store(tmp_path, uri=store.uri, experiment="gone").experiment_id == gone


def test_importing_the_package_leaves_mlflow_alone() -> None:
    code = "import sys, eyas.operations.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lost_connection_is_tried_again_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.operations.tracking.mlflow_store.PATIENCE", Retry(attempts=3, base=0.0))
    calls: list[str] = []

    def fail_twice(error: Exception) -> str:
        calls.append("call")
        if len(calls) < 3:
            raise error
        return "done"

    assert retry(fail_twice, ConnectionError("reset")) == "done"
    calls.clear()
    with pytest.raises(KeyError):
        retry(fail_twice, KeyError("x"))
    assert len(calls) == 1


def test_first_touch_by_several_processes_makes_one_experiment(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from eyas.operations import tracking; folder = Path(sys.argv[1])\n"
        "store = tracking.open_store(folder, uri=f'sqlite:///{folder}/m.db', experiment='shared')\n"
        "print(store.experiment_id, tracking.start_pipeline(store, 'run'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert len({experiment for experiment, _ in said}) == 1
    assert len({run for _, run in said}) == 2


@pytest.fixture
def dying_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address, password included, of an MLflow that opens the experiment and then closes every connection."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "get-by-name" not in self.path:
                self.connection.close()
                return
            body = json.dumps(
                {"experiment": {"experiment_id": "1", "name": "eyas", "lifecycle_stage": "active"}}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(OSError, ValueError):  # what a closed connection leaves
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://ann:hunter2secret@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_server_that_goes_away_is_one_line_without_its_password(dying_server: str, tmp_path: Path) -> None:
    store = tracking.open_store(tmp_path, uri=dying_server)
    calls: list[Callable[[], object]] = [
        lambda: model_registry.get_version(store, "net", 1),
        lambda: model_registry.get_alias(store, "net", "champion"),
        lambda: tracking.run_exists(store, "a" * 32),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert "hunter2secret" not in "".join(traceback.format_exception(caught.value))


def test_progress_that_the_server_does_not_take_stops_nothing(dying_server: str, tmp_path: Path) -> None:
    store = tracking.open_store(tmp_path, uri=dying_server)
    assert tracking.log_progress(store, "a" * 32, "finetune", 1, 2) is False


def test_what_the_server_answers_is_not_taken_for_an_absent_version(
    store: tracking.MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(*_: object) -> None:
        raise MlflowException("not yours", error_code=PERMISSION_DENIED)

    monkeypatch.setattr(store.client, "get_model_version", deny)
    with pytest.raises(MlflowException, match="not yours"):
        model_registry.get_version(store, "net", 1)


def test_the_first_error_is_told_where_closing_its_record_fails_too(
    store: tracking.MlflowStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ValueError("away")

    def full(*_: object, **__: object) -> None:
        raise OSError("the first")

    parent = tracking.start_pipeline(store, "parent")
    for name in ("set_terminated", "log_text"):
        monkeypatch.setattr(store.client, name, away)
    monkeypatch.setattr(store.client, "log_batch", full)
    with pytest.raises(OSError, match="the first"):
        tracking.record_stage(store, parent, tracking.StageRecord("score", "key-of-no-run", tmp_path))
    with pytest.raises(OSError, match="the first"):
        alias_move.open_record(store, "promotion", model_registry.Version("net", "1"), {})


def test_a_query_that_ctrl_c_cut_short_does_not_lock_sqlite(
    store: tracking.MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its open cursor hangs in the frames of the interrupt, which is still being handled when the run is closed."""
    from sqlalchemy.engine import result

    run_id = tracking.start_pipeline(store, "default")
    original = result.SimpleResultMetaData.__init__

    def cut_short(self: Any, keys: Any, *args: Any, **kwargs: Any) -> None:
        if any("run_uuid" in str(key) for key in keys):
            monkeypatch.setattr(result.SimpleResultMetaData, "__init__", original)
            raise KeyboardInterrupt
        original(self, keys, *args, **kwargs)

    monkeypatch.setattr(result.SimpleResultMetaData, "__init__", cut_short)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        close_if_interrupted(store, run_id)
    assert time.monotonic() - begin < 15  # SQLite's own patience is 20 seconds a try
    assert store.client.get_run(run_id).info.status == "KILLED"


def close_if_interrupted(store: tracking.MlflowStore, run_id: str) -> None:
    try:
        store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")
    except BaseException:
        with tracking.attempt("closing the run"):
            tracking.fail_run(store, run_id, "stopped", killed=True)
        raise


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_server_that_takes_calls_and_does_not_answer_is_told_in_seconds(kind: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{kind}://ann:hunter2secret@127.0.0.1:{silent.getsockname()[1]}/x"
        begin = time.monotonic()
        with pytest.raises(StorageError, match="cannot be used") as caught:
            tracking.open_store(tmp_path, uri=uri)
        assert time.monotonic() - begin < 12
    assert "hunter2secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_server_that_is_not_there_is_told_in_seconds(kind: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    begin = time.monotonic()
    with pytest.raises(StorageError, match="cannot be used"):
        tracking.open_store(tmp_path, uri=f"{kind}://ann:hunter2secret@127.0.0.1:{port}/x")
    assert time.monotonic() - begin < 12


def test_a_full_disk_is_no_reason_to_try_again(tmp_path: Path) -> None:
    calls: list[str] = []

    def full() -> None:
        calls.append("call")
        raise MlflowException("(sqlite3.OperationalError) database or disk is full")

    with pytest.raises(StorageError, match="database or disk is full, .* MB are free there: make room"):
        retry(full)
    assert len(calls) == 1
