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
