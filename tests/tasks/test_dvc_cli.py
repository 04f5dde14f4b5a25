"""The DVC adapter, against the real DVC in a small project."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from tasks import dvc_cli
from tasks.dvc_cli import StageError, repro_stage, stage_key, stage_names


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two stages; what the first does stands in ``first.py``."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = false\n")
    (tmp_path / "first.py").write_text("print('hello from first')\nopen('a.txt', 'w').write('a')\n")
    stages = {
        "second": {
            "cmd": f"{sys.executable} -c \"open('b.txt','w').write('b')\"",
            "deps": ["a.txt"],
            "outs": ["b.txt"],
        },
        "first": {
            "cmd": f"{sys.executable} first.py",
            "deps": ["first.py"],
            "outs": [{"a.txt": {"cache": False}}],
        },
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return tmp_path


def run(project: Path, stage: str, lines: list[str] | None = None) -> bool:
    return repro_stage(project, stage, os.environ, (lines if lines is not None else []).append).skipped


def test_stages_come_in_the_order_of_what_they_depend_on(project: Path) -> None:
    assert stage_names(project) == ["first", "second"]


def test_a_stage_runs_once_and_its_output_is_streamed(project: Path) -> None:
    lines: list[str] = []
    assert run(project, "first", lines) is False
    assert "hello from first" in lines
    assert run(project, "first") is True


def test_the_key_follows_what_the_stage_depends_on(project: Path) -> None:
    run(project, "first")
    before = stage_key(project, "first")
    (project / "first.py").write_text("open('a.txt', 'w').write('a')\n")
    run(project, "first")
    assert stage_key(project, "first") != before


def test_a_failure_carries_the_stages_own_message_and_status(project: Path) -> None:
    (project / "first.py").write_text(
        "import sys\nprint('working')\nprint('first: the disk is blue', file=sys.stderr)\nsys.exit(2)\n"
    )
    with pytest.raises(StageError) as caught:
        run(project, "first")
    error = caught.value
    assert (error.stage, error.exit_status, error.message) == ("first", 2, "the disk is blue")
    assert "working" in error.tail


def test_the_run_after_a_failure_continues_from_the_failed_stage(project: Path) -> None:
    run(project, "first")
    good = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(good.replace("open('b.txt','w').write('b')", "import sys; sys.exit(1)"))
    with pytest.raises(StageError):
        run(project, "second")
    (project / "dvc.yaml").write_text(good)
    assert run(project, "first") is True
    assert run(project, "second") is False


def test_leaving_early_ends_the_stages_processes(project: Path) -> None:
    (project / "first.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\nprint('started', flush=True)\ntime.sleep(60)\n"
    )

    def interrupt(line: str) -> None:
        if line == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repro_stage(project, "first", {**os.environ, "PYTHONUNBUFFERED": "1"}, interrupt)
    pid = int((project / "pid").read_text())
    deadline = time.monotonic() + 15
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _alive(pid)


def test_a_lock_held_by_another_dvc_is_waited_for(project: Path) -> None:
    (project / "first.py").write_text("import time\ntime.sleep(3)\nopen('a.txt', 'w').write('a')\n")
    other = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-s", "first"], cwd=project, stdout=subprocess.DEVNULL
    )
    threading.Event().wait(1.5)
    try:
        assert run(project, "first") is True
    finally:
        other.send_signal(signal.SIGTERM)
        other.wait()


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize(
    "tail",
    [
        [
            "> python -m tasks.one",
            "ERROR: unexpected error - [Errno 28] No space left on device: '{}/cache/ab'",
            "",
            "Hm",
        ],
        [
            "Traceback",
            "OSError: [Errno 28] No space left on device: '{}/x'",
            "ERROR: failed to reproduce 'one': exited with 1",
        ],
    ],
    ids=["DVC", "a process of the stage"],
)
def test_a_full_disk_is_one_line_with_its_folder(tail: list[str], tmp_path: Path) -> None:
    error = dvc_cli._failure("one", [line.format(tmp_path) for line in tail])
    assert error.message.startswith(f"{tmp_path}: no space left on device, ")
    assert "\n" not in str(error)


def test_what_a_stage_says_of_a_full_disk_stays() -> None:
    said = "/data: no space left on device, 0.1 MB are free there: make room and repeat this"
    error = dvc_cli._failure("one", [f"one: {said}", "ERROR: failed to reproduce 'one': x, exited with 1"])
    assert (error.message, error.exit_status) == (said, 1)
