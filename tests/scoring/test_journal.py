"""The journal: nothing lost, nothing doubled, nothing of another race."""

import math
import os
import signal
import time

import numpy as np
import pytest

from eyas.errors import BusyError
from eyas.scoring import Rung
from eyas.scoring.engine import Engine
from eyas.scoring.journal import Journal
from eyas.scoring.measurement import Measurement
from tests.scoring.test_score import RACE


def columns(table):
    return {name: column.tobytes() for name, column in table.columns().items()}


def measured(score=0.1, goodness=None):
    return Measurement(score, 1 / 3, math.nan, 2.0, 7, goodness)


def test_numbers_come_back_bit_for_bit(tmp_path):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    values = np.random.default_rng(0).normal(size=7).astype(np.float32)
    journal.add(0, 4, measured(-0.1234567890123456789, values))
    journal.add(1, 2, measured(math.nan))
    journal.close()
    again = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    ((candidate, found),) = again.finished(0)
    assert candidate == 4
    assert found.score == -0.1234567890123456789
    assert np.array_equal(found.goodness, values)
    assert math.isnan(found.accuracy)
    ((candidate, found),) = again.finished(1)
    assert math.isnan(found.score)
    assert found.goodness is None
    again.close()


def test_a_line_is_on_disk_before_the_next_begins(tmp_path):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
        assert len((tmp_path / "j").read_bytes().splitlines()) == number + 2
    journal.close()


def test_a_torn_line_is_cut_off(tmp_path):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[:-9])
    again = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert [candidate for candidate, _ in again.finished(0)] == [0, 1]
    again.add(0, 2, measured())
    again.close()
    assert (tmp_path / "j").read_bytes() == whole


def test_a_journal_of_another_race_is_begun_anew(tmp_path):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    journal.add(0, 1, measured())
    journal.close()
    other = Journal(tmp_path / "j", fingerprint="g", batch_size=8)
    assert not list(other.finished(0))
    other.close()


def test_two_processes_never_share_one(tmp_path):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    with pytest.raises(BusyError, match="in use"):
        Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    journal.close()


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


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"batch_size": 64}, {"calibrator": "cumulative"}, {"scorer": "top1"}, {"rungs": RACE[:2]}]
)
def test_a_changed_race_never_goes_on_from_the_old_one(scene, tmp_path, change):
    scene.score(rungs=RACE, journal=tmp_path / "j")
    options = {"rungs": RACE, **change}
    assert columns(scene.score(**options, journal=tmp_path / "j")) == columns(scene.score(**options))


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
