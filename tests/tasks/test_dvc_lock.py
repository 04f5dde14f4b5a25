"""A file that is not what its stage wrote is told before a stage runs, after it has run, and before a registration."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eyas.errors import ChecksumError
from tasks.dvc_cli import repro_stage
from tasks.dvc_lock import require_as_made, require_same_reading

FIRST = "import pathlib\npathlib.Path('a.txt').write_text('abc')\nf = pathlib.Path('files')\nf.mkdir()\n"
FIRST += "[(f / name).write_text(name) for name in ('x', 'y')]\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two stages of real DVC; the first writes a file and a folder, the second reads both."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = True\n    analytics = false\n")
    (tmp_path / "first.py").write_text(FIRST)
    (tmp_path / "second.py").write_text("open('b.txt', 'w').write(open('a.txt').read() + open('files/x').read())\n")
    stages = {
        "first": {"cmd": f"{sys.executable} first.py", "deps": ["first.py"], "outs": ["a.txt", "files"]},
        "second": {"cmd": f"{sys.executable} second.py", "deps": ["second.py", "a.txt", "files"], "outs": ["b.txt"]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    return tmp_path


def run(project: Path, *stages: str) -> None:
    for stage in stages:
        repro_stage(project, stage, os.environ, lambda _: None)


def test_what_is_as_it_was_made_passes(project: Path) -> None:
    require_as_made(project)  # nothing has run yet
    run(project, "first", "second")
    require_as_made(project)
    require_as_made(project, before="second")


def test_a_file_altered_before_a_stage_is_told_with_who_wrote_it(project: Path) -> None:
    run(project, "first")
    (project / "a.txt").write_text("abd")
    with pytest.raises(
        ChecksumError, match=r"^a\.txt is not what first wrote: dvc\.lock has 9001.*run again, DVC brings back"
    ):
        require_as_made(project, before="second")
    require_as_made(project, before="first")


@pytest.mark.parametrize(("file", "text"), [("a.txt", "abd"), ("files/x", "z"), ("files/new", "")])
def test_what_a_stage_read_is_compared_with_what_was_written(project: Path, file: str, text: str) -> None:
    run(project, "first")
    (project / file).write_text(text)
    run(project, "second")
    for look in (lambda: require_same_reading(project, "second"), lambda: require_as_made(project)):
        with pytest.raises(ChecksumError):
            look()
    with pytest.raises(ChecksumError, match=rf"^{file[:5]}.* was altered between the stages: first wrote md5"):
        require_same_reading(project, "second")
    require_same_reading(project, "first")


@pytest.mark.parametrize(("file", "text"), [("a.txt", "abd"), ("files/x", "z"), ("b.txt", "")])
def test_the_next_run_brings_back_what_was_altered_and_all_is_as_it_was(project: Path, file: str, text: str) -> None:
    run(project, "first", "second")
    before = (project / file).read_bytes()
    (project / file).write_text(text)
    run(project, "first", "second")
    assert (project / file).read_bytes() == before
    require_as_made(project)


def test_a_file_that_a_stage_read_altered_is_made_again_from_what_was_written(project: Path) -> None:
    run(project, "first")
    (project / "a.txt").write_text("abd")
    run(project, "second")
    assert (project / "b.txt").read_text() == "abdx"
    run(project, "first", "second")
    assert (project / "b.txt").read_text() == "abcx"
    require_as_made(project)


def test_a_bad_disk_that_leaves_time_and_size_is_seen_and_the_advice_helps(project: Path) -> None:
    run(project, "first", "second")
    path = project / "a.txt"
    times = path.stat()
    path.write_text("abd")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ChecksumError, match="delete it first"):
        require_as_made(project)
    path.unlink()
    run(project, "first", "second")
    assert path.read_text() == "abc"
    require_as_made(project)


@pytest.mark.parametrize("file", ["a.txt", "files/y", "files"])
def test_what_is_gone_is_told(project: Path, file: str) -> None:
    run(project, "first", "second")
    subprocess.run(["rm", "-r", str(project / file)], check=True)
    with pytest.raises(ChecksumError, match="is not what first wrote"):
        require_as_made(project)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), data=st.data())
def test_no_bit_of_any_file_changes_unseen(tmp_path: Path, contents: list[bytes], data: st.DataObject) -> None:
    outs = []
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
        outs.append({"path": str(number), "md5": hashlib.md5(content).hexdigest(), "size": len(content)})
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"one": {"outs": outs}}}))
    require_as_made(tmp_path)
    number = data.draw(st.integers(0, len(contents) - 1))
    bit = data.draw(st.integers(0, 8 * len(contents[number]) - 1))
    altered = bytearray(contents[number])
    altered[bit // 8] ^= 1 << bit % 8
    (tmp_path / str(number)).write_bytes(altered)
    with pytest.raises(ChecksumError, match=f"^{number} is not what one wrote"):
        require_as_made(tmp_path)
