"""What the doctor looks at: packages against the lock, ports and who holds them, servers, runs, disk."""

import os
import shutil
import socket
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import pytest
from filelock import FileLock

from eyas.operations.doctor import examination, examine, installation, machine, services


def test_packages_are_held_against_the_lock(tmp_path: Path) -> None:
    lock, right = tmp_path / "requirements.lock", f"numpy=={version('numpy')}\n"
    lock.write_text(right)
    (finding,) = installation.look_at_packages(tmp_path)
    assert (finding.state, "all 1 as in requirements.lock" in finding.text) == ("good", True)
    lock.write_text(right + "rich==0.1\n")
    (finding,) = installation.look_at_packages(tmp_path)
    assert finding.state == "note"
    assert f"1 differ from requirements.lock (rich {version('rich')} (locked 0.1))" in finding.text
    lock.write_text(right + "no-such-package==1.0\n")
    (finding,) = installation.look_at_packages(tmp_path)
    assert (finding.state, finding.advice) == ("fault", "make setup")
    assert "1 of requirements.lock are missing (no-such-package)" in finding.text


def test_a_port_is_free_or_its_holder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        monkeypatch.setattr(services, "PORTS", {port: "MLflow"})
        monkeypatch.setattr(services, "OPTIONS", {port: "--mlflow-port"})
        (finding,) = services.look_at_ports(tmp_path)
        assert (finding.state, finding.text) == ("good", "(MLflow) is free")
        holder.listen()
        (finding,) = services.look_at_ports(tmp_path)
    assert finding.state == "note"
    assert f"held by process {os.getpid()} " in finding.text
    assert "--mlflow-port" in finding.advice


def test_a_server_that_is_named_and_does_not_answer_stops_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREFECT_API_URL", f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}/api")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
        prefect, mlflow = services.look_at_servers(tmp_path)
    assert (prefect.state, mlflow.state) == ("fault", "good")
    assert "does not answer" in prefect.text
    assert "secret" not in prefect.text
    monkeypatch.delenv("PREFECT_API_URL")
    assert next(services.look_at_servers(tmp_path)).state == "good"


def test_a_run_at_work_is_named_and_one_that_was_killed_is_none(tmp_path: Path) -> None:
    state = tmp_path / "workspaces/mine/.eyas"
    state.mkdir(parents=True)
    (state / "run.owner").write_text("4711")
    assert [finding.text for finding in services.look_at_runs(tmp_path)] == ["none at work"]
    with FileLock(state / "run.lock"):
        (finding,) = services.look_at_runs(tmp_path)
    assert (finding.state, finding.text) == ("note", "at work: mine (process 4711)")
    stale = tmp_path / ".eyas/servers/postgres/postmaster.pid"
    stale.parent.mkdir(parents=True)
    stale.write_text("999999999\n/data\n")
    assert [finding.advice for finding in services.look_at_runs(tmp_path)][1:] == [f"rm {stale}"]


@pytest.mark.parametrize(("free", "state"), [(0.5, "fault"), (3, "note"), (50, "good")])
def test_a_full_disk_stops_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, state: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100 * machine.GIB, 0, free * machine.GIB))
    disk, access = machine.look_at_disk(tmp_path)
    assert disk.state == state
    assert bool(disk.advice) == (state != "good")
    assert access.state == "good"


def test_the_place_of_the_data_is_a_folder_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, state in ((str(tmp_path), "good"), (str(tmp_path / "gone"), "note"), ("", "note")):
        monkeypatch.setenv("EYAS_DATA", place)
        (finding,) = machine.look_at_data(tmp_path)
        assert finding.state == state


def test_a_look_that_fails_is_a_finding_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Path) -> None:
        raise RuntimeError("libcuda is broken")

    looks = {"device": broken, "python": installation.look_at_python}
    monkeypatch.setattr(examination, "LOOKS", looks)
    project, device, python = examine(tmp_path, tmp_path)
    assert (project.state, device.state, python.state) == ("good", "fault", "good")
    assert "libcuda is broken" in device.text


def test_extras_are_two_lines_at_most_with_what_one_would_want_them_for(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"timm"}
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: object() if name in there else None)
    monkeypatch.setattr(installation, "_version", lambda name: "1.0")
    good, note = installation.look_at_extras(Path())
    assert (good.state, good.text) == ("good", "timm 1.0")
    assert note.state == "note"
    assert note.text.startswith(
        "not installed, and only if wanted: openvino (Intel devices: pip install 'eyas[openvino]')"
    )
    assert "optuna (its samplers: pip install 'eyas[optuna]')" in note.text
    assert "torchvision (its architectures: pip install torchvision)" in note.text
    there |= set(installation.EXTRAS)
    assert len(list(installation.look_at_extras(Path()))) == 1


def test_outside_of_a_project_no_run_is_spoken_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "LOOKS", {"runs": services.look_at_runs})
    assert [finding.name for finding in examination.examine(None, tmp_path)] == ["project"]
    assert [finding.name for finding in examination.examine(tmp_path, tmp_path)] == ["project", "runs"]
