"""The journal as a file: nothing lost, nothing doubled, nothing that is no journal touched."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from eyas.errors import BusyError, ParameterError, StorageError
from eyas.scoring.race.journal import RaceJournal
from tests.scoring.conftest import measured


def test_numbers_come_back_bit_for_bit(tmp_path):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    values = np.random.default_rng(0).normal(size=7).astype(np.float32)
    journal.add(0, 4, measured(-0.1234567890123456789, values))
    journal.add(1, 2, measured(math.nan))
    journal.close()
    again = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    ((candidate, measurement),) = again.finished(0)
    assert candidate == 4
    assert measurement.score == -0.1234567890123456789
    assert np.array_equal(measurement.image_scores, values)
    assert math.isnan(measurement.accuracy)
    ((candidate, measurement),) = again.finished(1)
    assert math.isnan(measurement.score)
    assert measurement.image_scores is None
    again.close()


def test_a_line_is_on_disk_before_the_next_begins(tmp_path):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
        assert len((tmp_path / "j").read_bytes().splitlines()) == number + 2
    journal.close()


def test_a_torn_line_is_cut_off(tmp_path):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
    journal.close()
    whole = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(whole[:-9])
    again = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert [candidate for candidate, _ in again.finished(0)] == [0, 1]
    again.add(0, 2, measured())
    again.close()
    assert (tmp_path / "j").read_bytes() == whole


def test_damage_anywhere_costs_what_follows_and_no_more(tmp_path, caplog):
    path = tmp_path / "j"
    journal = RaceJournal(path, fingerprint="f", batch_size=8)
    for number in range(5):
        journal.add(0, number, measured(image_scores=np.arange(7, dtype=np.float32)))
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
        "image scores cut": [two[:-20], b'"}\n', three, *rest],
    }
    for name, lines in damaged.items():
        path.write_bytes(b"".join([head, one, *lines]))
        caplog.clear()
        again = RaceJournal(path, fingerprint="f", batch_size=8)
        kept = [candidate for candidate, _ in again.finished(0)]
        again.close()
        assert kept == ([0, 1, 2, 3] if name == "zeros at the end" else [0]), name
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[: len(kept) + 1]), name
        assert "measured again" in caplog.text, name


@pytest.mark.parametrize("torn", [1, 8, 9, 10, 40])
def test_a_torn_header_begins_anew(tmp_path, torn):
    RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8).close()
    whole = (tmp_path / "j").read_bytes()
    for spoilt in (whole[:torn], whole[:torn] + b"\n", whole[:9] + b"{garbage\n", bytes(torn)):
        (tmp_path / "j").write_bytes(spoilt)
        journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
        assert not list(journal.finished(0))
        journal.close()
        assert (tmp_path / "j").read_bytes() == whole


@pytest.mark.parametrize("content", [b"\x80\x81weights\n", b"\n", b"[1]\n", b"precious " * 1000, b"cafe and more"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    (tmp_path / "j").write_bytes(content)
    with pytest.raises(ParameterError, match=r"j is no journal of a race"):
        RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert (tmp_path / "j").read_bytes() == content


def test_a_device_is_no_file():
    with pytest.raises(ParameterError, match="give the path of a file"):
        RaceJournal(Path("/dev/null"), fingerprint="f", batch_size=8)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(StorageError, match=r"j cannot be written any more \(No space left"):
        journal.add(0, 1, measured())
    journal.close()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[:10]))
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    for number in range(3):
        journal.add(0, number, measured())
    journal.close()
    monkeypatch.undo()
    again = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    assert [candidate for candidate, _ in again.finished(0)] == [0, 1, 2]
    again.close()


def test_a_journal_that_cannot_be_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "j"):
        with pytest.raises(ParameterError, match=f"journal {re.escape(str(path))}.*a file"):
            RaceJournal(path, fingerprint="f", batch_size=8)


def test_a_journal_of_another_race_is_begun_anew(tmp_path):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    journal.add(0, 1, measured())
    journal.close()
    other = RaceJournal(tmp_path / "j", fingerprint="g", batch_size=8)
    assert not list(other.finished(0))
    other.close()


def test_two_processes_never_share_one(tmp_path):
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    with pytest.raises(BusyError, match="in use"):
        RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8)
    journal.close()
