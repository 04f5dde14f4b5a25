"""A killed training ends with the bytes of an unbroken one; its key follows all that could change them."""

import sys
from pathlib import Path

import pytest
import torch

from eyas.training import EpochStore, derive_seed, resume_key, train
from eyas.training.resume import training_code
from tests.training.helpers import RECIPE, state_hash


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_and_resumed_ends_with_the_same_bytes(digits, tiny, tmp_path, killed_after):
    train_split, score, _ = digits
    teacher = tiny()
    unbroken = tiny()
    expected = train(unbroken, train_split, score, recipe=RECIPE, epochs=4, teacher=teacher)

    class KilledError(Exception):
        pass

    def kill(done, total, text=""):
        if done == (killed_after + 1) * 8:  # 8 steps per epoch: in the next epoch's report, before its checkpoint
            raise KilledError

    with pytest.raises(KilledError):
        train(
            tiny(), train_split, score, recipe=RECIPE, epochs=4, teacher=teacher,
            progress=kill, resume_folder=tmp_path,
        )  # fmt: skip
    resumed = tiny()
    result = train(resumed, train_split, score, recipe=RECIPE, epochs=4, teacher=teacher, resume_folder=tmp_path)
    assert result.resumed_from == killed_after
    assert state_hash(resumed) == state_hash(unbroken)
    assert result.history == expected.history
    assert (result.best_epoch, result.best) == (expected.best_epoch, expected.best)


def test_a_finished_run_resumes_to_its_end(digits, tiny, tmp_path):
    train_split, score, _ = digits
    first, second = tiny(), tiny()
    train(first, train_split, score, recipe=RECIPE, epochs=2, resume_folder=tmp_path)
    result = train(second, train_split, score, recipe=RECIPE, epochs=2, resume_folder=tmp_path)
    assert result.resumed_from == 2
    assert state_hash(first) == state_hash(second)


def test_an_unreadable_epoch_checkpoint_starts_again(digits, tiny, tmp_path, caplog):
    train_split, score, _ = digits
    plain, again = tiny(), tiny()
    train(plain, train_split, score, recipe=RECIPE, epochs=2)
    (tmp_path / "epoch.pt").write_bytes(b"not a checkpoint")
    result = train(again, train_split, score, recipe=RECIPE, epochs=2, resume_folder=tmp_path)
    assert result.resumed_from == 0
    assert "cannot be read" in caplog.text
    assert state_hash(plain) == state_hash(again)


def test_epoch_checkpoints_are_replaced_as_a_whole(tmp_path, monkeypatch):
    store = EpochStore(tmp_path)
    store.save({"epoch": 1, "value": torch.ones(3)})

    def fail(state, file):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save({"epoch": 2})
    assert store.load("cpu")["epoch"] == 1
    store.clear()
    assert not tmp_path.exists()


def test_resume_key_follows_parameters_and_bytes(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    key = resume_key({"x": 1, "y": 2}, [file])
    assert key == resume_key({"y": 2, "x": 1}, [file])
    assert key != resume_key({"x": 1, "y": 3}, [file])
    file.write_bytes(b"2")
    assert key != resume_key({"x": 1, "y": 2}, [file])


def test_resume_key_follows_the_code_that_trains(tmp_path, monkeypatch):
    loaded = {Path(module.__file__) for name, module in sys.modules.items() if name.startswith("eyas.training")}
    assert loaded <= set(training_code())
    assert {"loop", "epoch", "augmentation", "sgd"} <= {path.stem for path in loaded}
    keys = []
    for text in ("rate = 1", "rate = 2"):
        (tmp_path / "recipe.py").write_text(text)
        monkeypatch.setattr("eyas.training.resume.training_code", lambda: [tmp_path / "recipe.py"])
        keys.append(resume_key({}, []))
    assert keys[0] != keys[1]


def test_derived_seeds_differ():
    seeds = {derive_seed(seed, epoch, use) for seed in range(10) for epoch in range(10) for use in ("a", "b")}
    assert len(seeds) == 200
    assert derive_seed(1, 23) != derive_seed(12, 3)
