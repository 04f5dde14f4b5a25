"""The journal: nothing lost, nothing doubled, nothing of another race."""

import copy
import importlib.util
import math
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import eyas
from eyas.criteria import Criterion
from eyas.errors import BusyError, ParameterError, StorageError
from eyas.scorers import Scorer
from eyas.scoring import Rung, WidthPlans
from eyas.scoring.candidates import digests
from eyas.scoring.engine import Engine
from eyas.scoring.fingerprint import sources
from eyas.scoring.journal import Journal
from eyas.scoring.measurement import Measurement
from tests.scoring.conftest import FUSED, RACE
from tests.scoring.networks import Net


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


def test_damage_anywhere_costs_what_follows_and_no_more(tmp_path, caplog):
    path = tmp_path / "j"
    journal = Journal(path, fingerprint="f", batch_size=8)
    for number in range(5):
        journal.add(0, number, measured(goodness=np.arange(7, dtype=np.float32)))
    journal.close()
    whole = path.read_bytes()
    head, one, two, three, *rest = whole.splitlines(keepends=True)
    damaged = {
        "half a line, the next behind it": [two[:40], three, *rest],
        "zero bytes": [two[:20], bytes(50), two[70:], three, *rest],
        "one letter": [two.replace(b"images", b"imagex"), three, *rest],
        "no measurement": [b'{"rung": 0}\n', three, *rest],
        "an empty line": [b"\n", two, three, *rest],
        "zeros at the end": [two, three, *rest[:-1], rest[-1][:-9], bytes(4096)],
        "goodness cut": [two[:-20], b'"}\n', three, *rest],
    }
    for name, lines in damaged.items():
        path.write_bytes(b"".join([head, one, *lines]))
        caplog.clear()
        again = Journal(path, fingerprint="f", batch_size=8)
        kept = [candidate for candidate, _ in again.finished(0)]
        again.close()
        assert kept == ([0, 1, 2, 3] if name == "zeros at the end" else [0]), name
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[: len(kept) + 1]), name
        assert "measured again" in caplog.text, name


@pytest.mark.parametrize("torn", [1, 8, 9, 10, 40])
def test_a_torn_header_begins_anew(tmp_path, torn):
    Journal(tmp_path / "j", fingerprint="f", batch_size=8).close()
    whole = (tmp_path / "j").read_bytes()
    for spoilt in (whole[:torn], whole[:torn] + b"\n", whole[:9] + b"{garbage\n", bytes(torn)):
        (tmp_path / "j").write_bytes(spoilt)
        journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
        assert not list(journal.finished(0))
        journal.close()
        assert (tmp_path / "j").read_bytes() == whole


@pytest.mark.parametrize("content", [b"\x80\x81weights\n", b"\n", b"[1]\n", b"precious " * 1000, b"cafe and more"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ParameterError, match=r"j is no journal of a race"):
        Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert (tmp_path / "j").read_bytes() == content


def test_a_device_is_no_file():
    with pytest.raises(ParameterError, match="give the path of a file"):
        Journal(Path("/dev/null"), fingerprint="f", batch_size=8)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(StorageError, match=r"j cannot be written any more \(No space left"):
        journal.add(0, 1, measured())
    journal.close()


SCORER = """
from typing import Literal
from eyas.scorers import Scorer

class Mine(Scorer):
    kind: Literal["mine"] = "mine"
    def __call__(self, answers):
        return {sign}answers.logits[:, 0]
"""


def test_another_version_of_the_users_own_scorer_is_another_race(scene, tmp_path):
    found = []
    for number, sign in enumerate("+-"):
        (tmp_path / f"own{number}.py").write_text(SCORER.format(sign=sign))
        spec = importlib.util.spec_from_file_location(f"own{number}", tmp_path / f"own{number}.py")
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found.append(scene.score(rungs=FUSED, scorer=module.Mine(), journal=tmp_path / "j"))
    assert np.array_equal(found[0].score, -found[1].score)
    del Scorer.registry["mine"]


def test_a_race_goes_on_from_a_damaged_journal(scene, tmp_path):
    path = tmp_path / "j"
    expected = columns(scene.score(rungs=RACE, journal=path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], lines[5][:40], *lines[6:]]))
    assert columns(scene.score(rungs=RACE, journal=path)) == expected


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[:10]))
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
    journal.close()
    monkeypatch.undo()
    again = Journal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert [candidate for candidate, _ in again.finished(0)] == [0, 1, 2]
    again.close()


def test_a_journal_that_cannot_be_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "j"):
        with pytest.raises(ParameterError, match=f"journal {re.escape(str(path))}.*a file"):
            Journal(path, fingerprint="f", batch_size=8)


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
    "change",
    [
        {"seed": 1},
        {"batch_size": 64},
        {"calibrator": "cumulative"},
        {"scorer": "top1"},
        {"rungs": RACE[::2]},
        {"stop_margin": 1.0},
    ],
)
def test_a_changed_race_never_goes_on_from_the_old_one(scene, tmp_path, change):
    scene.score(rungs=RACE, journal=tmp_path / "j")
    options = {"rungs": RACE, **change}
    assert columns(scene.score(**options, journal=tmp_path / "j")) == columns(scene.score(**options))


def test_other_channels_of_the_same_widths_are_another_race(scene, tmp_path):
    other = WidthPlans(scene.plans.widths, scene.space.planner(Criterion.parse("random")))
    scene.score(rungs=RACE, journal=tmp_path / "j")
    found = columns(scene.score(other, rungs=RACE, journal=tmp_path / "j"))
    assert found == columns(scene.score(other, rungs=RACE))
    assert found != columns(scene.score(rungs=RACE))


def test_equal_plans_have_equal_marks_however_they_are_made(scene):
    widths = scene.plans.widths
    again = digests(WidthPlans(widths.copy(), scene.space.planner(Criterion.parse("l1_norm"))))
    assert np.array_equal(digests(scene.plans), again)
    by_hand = WidthPlans(widths, lambda row: scene.space.plan(row, Criterion.parse("random")))
    assert np.array_equal(digests(by_hand), digests(list(by_hand)))


class Tanh(Net):
    """The same weights, another forward."""

    def forward(self, x):
        x = torch.tanh(self.norm1(self.conv1(x)))
        return self.head(torch.tanh(self.norm2(self.conv2(x))).mean((2, 3)))


def other_forward(model):
    model.__class__ = Tanh


def other_eps(model):
    model.norm1.eps = 0.5


def slightly_other_eps(model):
    model.norm1.eps = 1.1e-5


@pytest.mark.parametrize("change", [other_forward, other_eps, slightly_other_eps])
def test_another_network_with_the_same_weights_is_another_race(scene, tmp_path, change):
    scene.score(rungs=RACE, journal=tmp_path / "j")
    other = copy.deepcopy(scene.model)
    change(other)
    given = (other, scene.space, scene.plans, scene.calibration, scene.scoring, scene.labels)
    assert columns(eyas.score(*given, rungs=RACE, journal=tmp_path / "j")) == columns(eyas.score(*given, rungs=RACE))


def test_rounding_of_other_threads_does_not_lose_the_journal(tmp_path):
    answers = np.random.default_rng(0).normal(size=20).astype(np.float32)
    answers[3] = np.nan
    journal = Journal(tmp_path / "j", fingerprint="f", batch_size=8, answers=answers)
    journal.add(0, 1, measured())
    journal.close()
    for factor, kept in ((1 + 1e-6, 1), (1.01, 0)):
        again = Journal(tmp_path / "j", fingerprint="f", batch_size=8, answers=answers * np.float32(factor))
        assert len(list(again.finished(0))) == kept
        again.close()


def test_every_source_file_of_the_package_is_in_the_fingerprint():
    package = Path(eyas.__file__).parent
    listed = {path.relative_to(package).as_posix() for path in sources()}
    assert {"ridge.py", "space.py", "criteria/l1_norm.py", "scorers/top1.py", "scoring/run.py"} <= listed
    assert listed == {path.relative_to(package).as_posix() for path in package.rglob("*.py")}


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
