import subprocess
import sys
from pathlib import Path

import pytest

from eyas import tracking
from eyas.errors import StorageError
from eyas.tracking.store import retry


def test_given_address_goes_before_environment_before_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/.eyas/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert tracking.tracking_uri(tmp_path) == "http://server:5000"
    assert tracking.tracking_uri(tmp_path, "http://other:5000") == "http://other:5000"


def test_unusable_address_is_told_with_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"runtime\.tracking_uri"):
        tracking.open_store(tmp_path, uri="nonsense://user:pw@host/x")


def test_artifacts_lie_beside_the_database(store: tracking.Store) -> None:
    if not store.uri.startswith("sqlite:"):
        pytest.skip("a server knows its own place")
    place = store.client.get_experiment(store.experiment_id).artifact_location
    assert place == (store.locks / "mlartifacts").as_uri()
    assert not Path("mlruns").exists()


def test_deleted_experiment_is_restored(store: tracking.Store, tmp_path: Path) -> None:
    gone = tracking.open_store(tmp_path, uri=store.uri, experiment="gone").experiment_id
    store.client.delete_experiment(gone)
    assert tracking.open_store(tmp_path, uri=store.uri, experiment="gone").experiment_id == gone


def test_importing_the_package_leaves_mlflow_alone() -> None:
    code = "import sys, eyas.tracking; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lost_connection_is_tried_again_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.tracking.store.PAUSES", (0.0, 0.0))
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
        "import sys; from pathlib import Path; from eyas import tracking; folder = Path(sys.argv[1])\n"
        "store = tracking.open_store(folder, uri=f'sqlite:///{folder}/m.db', experiment='shared')\n"
        "print(store.experiment_id, tracking.start_pipeline(store, 'run'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in started]
    assert len({experiment for experiment, _ in said}) == 1
    assert len({run for _, run in said}) == 2
