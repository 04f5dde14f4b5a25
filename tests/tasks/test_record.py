"""Runs of a process that was killed: the next run of the same workspace ends them."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eyas.data.comparability import Comparability
from eyas.errors import ParameterError
from eyas.operations import tracking
from tasks.dvc_cli import StageResult
from tasks.record import fail_run, finish_run, progress_of, record_stage, start_run
from tasks.tracking_store import open_store
from tasks.workspace import Workspace, open_workspace

HOLD = """
import sys, time
from pathlib import Path
from tasks.record import start_run
from tasks.tracking_store import open_store
from tasks.workspace import open_workspace

workspace = open_workspace(Path(sys.argv[1]))
with workspace.locked():
    parent, store = start_run(workspace), open_store(workspace)
    child = store.client.create_run(store.experiment_id, tags={"mlflow.parentRunId": parent, "eyas.stage": "score"})
    print(parent, child.info.run_id, flush=True)
    time.sleep(60)
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "checkout", tmp_path / "mlflow.db")


def make_workspace(folder: Path, database: Path) -> Workspace:
    folder.mkdir()
    (folder / "params.yaml").write_text(f"runtime: {{tracking_uri: 'sqlite:///{database}'}}\n")
    (folder / "dvc.yaml").write_text("stages: {}\n")
    return open_workspace(folder)


def statuses(workspace: Workspace, *runs: str) -> list[str]:
    client = open_store(workspace).client
    return [client.get_run(run).info.status for run in runs]


def test_the_run_after_a_kill_ends_what_was_left_running(workspace: Workspace) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-c", HOLD, str(workspace.root)]
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) as killed:
        assert killed.stdout is not None
        parent, child = killed.stdout.readline().split()
        killed.send_signal(signal.SIGKILL)
    assert statuses(workspace, parent, child) == ["RUNNING", "RUNNING"]
    with workspace.locked():
        mine = start_run(workspace)
    assert statuses(workspace, parent, child, mine) == ["KILLED", "KILLED", "RUNNING"]
    for run in (parent, child):
        entry = open_store(workspace).client.get_run(run)
        assert entry.data.tags["eyas.error"].startswith("was cut off")
        assert mine in entry.data.tags["eyas.error"]
        assert entry.info.end_time >= entry.info.start_time


def test_runs_of_others_go_on(workspace: Workspace, tmp_path: Path) -> None:
    """Another checkout with a profile of the same name, on the same server; and what nobody of ours has made."""
    other = make_workspace(tmp_path / "other", tmp_path / "mlflow.db")
    theirs = start_run(other)
    foreign = tracking.start_pipeline(open_store(workspace), workspace.name, tags={"eyas.profile": workspace.name})
    start_run(workspace)
    assert statuses(workspace, theirs, foreign) == ["RUNNING", "RUNNING"]


def test_runs_that_ended_stay_as_they_ended(workspace: Workspace) -> None:
    first = start_run(workspace)
    store = open_store(workspace)
    tracking.fail_run(store, first, "no space left")
    second = start_run(workspace)
    tracking.finish_run(store, second)
    start_run(workspace)
    assert statuses(workspace, first, second) == ["FAILED", "FINISHED"]
    assert store.client.get_run(first).data.tags["eyas.error"] == "no space left"


def test_a_run_shows_what_differs_from_the_defaults_and_keeps_all(workspace: Workspace, tmp_path: Path) -> None:
    run_id, client = start_run(workspace), open_store(workspace).client
    run = client.get_run(run_id)
    assert run.info.run_name == "eyas · 50 % MACs"
    assert "runtime.tracking_uri" in run.data.params
    assert run.data.params["sample.budget.macs"] == "0.5"
    assert "score.seed" not in run.data.params
    everything = yaml.safe_load(Path(client.download_artifacts(run_id, "params.yaml", str(tmp_path))).read_text())
    assert everything["score"]["seed"] == workspace.params.score.seed


def test_a_run_that_ended_has_no_hashes_among_its_tags(workspace: Workspace, tmp_path: Path) -> None:
    ended = start_run(workspace)
    finish_run(ended, workspace)
    failed = start_run(workspace)
    fail_run(failed, workspace, KeyboardInterrupt("stopped by SIGINT"))
    client = open_store(workspace).client
    for run_id in (ended, failed):
        tags = client.get_run(run_id).data.tags
        assert not [
            value for name, value in tags.items() if name.startswith("eyas.") and re.search("[0-9a-f]{32}", value)
        ]
        lineage = json.loads(Path(client.download_artifacts(run_id, "lineage.json", str(tmp_path))).read_text())
        assert lineage["workspace"] == workspace.identity()


def test_the_stage_that_was_at_work_ends_with_its_run(workspace: Workspace) -> None:
    parent = start_run(workspace)
    with progress_of(parent, workspace, "score") as tell:
        tell(1, 2)
    (child,) = tracking.running_stages(open_store(workspace), parent)
    fail_run(parent, workspace, KeyboardInterrupt("stopped by SIGINT"))
    assert statuses(workspace, parent, child) == ["KILLED", "KILLED"]


def test_an_address_that_mlflow_does_not_know_is_a_parameters(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("runtime: {tracking_uri: 'nonsense://host/x'}\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(ParameterError, match="check runtime.tracking_uri and MLFLOW_TRACKING_URI"):
        open_store(open_workspace(tmp_path))


@pytest.mark.parametrize("stage", ["baseline", "score", "finetune", "export"])
def test_every_run_with_accuracies_says_that_they_do_not_compare(workspace: Workspace, stage: str) -> None:
    for name in ("baseline", stage):
        (workspace.artifacts / name).mkdir(parents=True, exist_ok=True)
    seen = Comparability(False, "the checkpoint may have seen the test images")
    seen.write(workspace.artifacts / "baseline")
    parent, client = start_run(workspace), open_store(workspace).client
    run = record_stage.fn(parent, workspace, StageResult(stage, skipped=False, key="a key"))
    for one in (parent, run):
        assert Comparability.from_tags(client.get_run(one).data.tags) == seen
