"""A race that was cut off or killed ends with the table of an unbroken one."""

import os
import signal
import time

import numpy as np

from eyas.scoring import Rung
from eyas.scoring.engine import Engine
from tests.scoring.conftest import RACE, columns


def test_a_race_goes_on_from_a_damaged_journal(scene, tmp_path):
    path = tmp_path / "j"
    expected = columns(scene.score(rungs=RACE, journal=path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], lines[5][:40], *lines[6:]]))
    assert columns(scene.score(rungs=RACE, journal=path)) == expected


def test_cut_anywhere_it_ends_with_the_identical_table(scene, tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    expected = columns(scene.score(rungs=RACE, journal=path))
    assert expected == columns(scene.score(rungs=RACE))
    whole, launch = path.read_bytes(), Engine.launch
    launched = []
    monkeypatch.setattr(Engine, "launch", lambda self, *a: launched.append(1) or launch(self, *a))
    for cut in np.random.default_rng(0).integers(0, len(whole), 20):
        path.write_bytes(whole[:cut])
        launched.clear()
        assert columns(scene.score(rungs=RACE, journal=path)) == expected
        done = max(whole[:cut].count(b"\n") - 1, 0)
        assert len(launched) == 24 + 12 + 4 - done
        assert path.read_bytes() == whole


def test_after_running_out_of_memory_the_smaller_batch_stays(scene, tmp_path, monkeypatch):
    launch = Engine.launch

    def small_device(self, plan, rung, batch_size):
        if batch_size > 40:
            raise MemoryError
        return launch(self, plan, rung, batch_size)

    monkeypatch.setattr(Engine, "launch", small_device)
    one = scene.score(rungs=RACE, journal=tmp_path / "j", batch_size=64)
    monkeypatch.undo()
    again = scene.score(rungs=RACE, journal=tmp_path / "j", batch_size=64)
    assert again.settings["batch_size"] == 32
    assert any("an earlier run ran out of memory" in warning for warning in again.warnings)
    assert columns(one) == columns(again)


def kill_while_scoring(scene, path, seconds):
    """Score in a child process and kill it after so long; True if it was killed before its end."""
    child = os.fork()
    if not child:
        code = 1
        try:
            scene.score(rungs=RACE, journal=path)
            code = 0
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_twenty_random_moments_it_ends_with_the_identical_table(scene, tmp_path):
    start = time.perf_counter()
    expected = columns(scene.score(rungs=RACE))
    whole = time.perf_counter() - start
    moments, killed = np.random.default_rng(7).uniform(0.05, 1, 20) * whole, 0
    for number, moment in enumerate(moments):
        path = tmp_path / f"{number}.jsonl"
        killed += kill_while_scoring(scene, path, float(moment))
        assert columns(scene.score(rungs=RACE, journal=path)) == expected
    assert killed >= 10


def test_killed_again_and_again_it_still_gets_there(scene, tmp_path):
    path, sizes = tmp_path / "j", []
    for _ in range(6):
        kill_while_scoring(scene, path, 0.08)
        sizes.append(path.stat().st_size if path.exists() else 0)
    assert sizes == sorted(sizes)
    rungs = [Rung.model_validate(rung) for rung in RACE]
    assert columns(scene.score(rungs=rungs, journal=path)) == columns(scene.score(rungs=rungs))
