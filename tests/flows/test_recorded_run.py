"""The parent run of a pipeline run in MLflow, whenever the run is stopped."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from eyas.cli import interruption
from eyas.cli.interruption import Interruption, Stopped
from flows import pipeline
from flows.pipeline import recorded_run
from tasks.tracking_store import open_store
from tasks.workspace import Workspace, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "params.yaml").write_text(f"runtime: {{tracking_uri: 'sqlite:///{tmp_path / 'mlflow.db'}'}}\n")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    opened = open_workspace(folder)
    open_store(opened)  # as a command does before its flow: MLflow imported, its database made
    return opened


@pytest.fixture(autouse=True)
def _command(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interruption, "LONGEST_DELAY", 60.0)
    command = Interruption(["eyas", "run"])
    command.patience = None  # else the watchdog would end pytest
    command.install()


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stopping_before(call: Callable[..., object]) -> Callable[..., object]:
    def stopped(*arguments: object) -> object:
        stop()
        return call(*arguments)

    return stopped


def statuses(workspace: Workspace) -> list[str]:
    store = open_store(workspace)
    return [run.info.status for run in store.client.search_runs([store.experiment_id])]


def test_a_run_that_failed_is_closed_before_a_signal_stops_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "fail_run", stopping_before(pipeline.fail_run))

    def run() -> None:
        with recorded_run(workspace):
            raise ValueError("no such weights")

    with pytest.raises(Stopped):
        run()
    assert statuses(workspace) == ["FAILED"]


@pytest.mark.parametrize(("call", "status"), [("start_run", "KILLED"), ("", "KILLED"), ("finish_run", "FINISHED")])
def test_no_run_stays_open_that_is_stopped(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, call: str, status: str
) -> None:
    """While it is opened, while it is at work, while it is closed."""
    if call:
        monkeypatch.setattr(pipeline, call, stopping_before(getattr(pipeline, call)))

    def run() -> None:
        with recorded_run(workspace):
            if not call:
                stop()

    with pytest.raises(Stopped):
        run()
    assert statuses(workspace) == [status]
