"""A race with rungs of both kinds that was cut off or killed ends with the table of an unbroken one."""

import os
import signal
import time

import numpy as np
import pytest
import torch

from eyas.scoring import Rung
from eyas.scoring.engine import Engine
from tests.scoring.conftest import columns
from tests.scoring.networks import images

RACE = [
    Rung(images=60, keep=6),
    Rung(steps=2, images=120, batch_size=16, keep=3),
    Rung(steps=6, images=240, batch_size=16),
]


@pytest.fixture(scope="module")
def training():
    labels = torch.randint(0, 5, (96,), generator=torch.Generator().manual_seed(9))
    return images(5, 1)[labels] + 1.5 * images(96, 11), labels


def test_cut_anywhere_it_ends_with_the_identical_table(scene, training, tmp_path, monkeypatch):
    path, launched, launch = tmp_path / "j", [], Engine.launch
    expected = columns(scene.score(rungs=RACE, training=training, journal=path))
    whole = path.read_bytes()
    monkeypatch.setattr(Engine, "launch", lambda self, *a: launched.append(1) or launch(self, *a))
    after_the_first_rung = sum(len(line) for line in whole.splitlines(keepends=True)[:25])
    for cut in np.random.default_rng(0).integers(after_the_first_rung, len(whole), 8):
        path.write_bytes(whole[:cut])
        launched.clear()
        assert columns(scene.score(rungs=RACE, training=training, journal=path)) == expected
        assert len(launched) == 24 + 6 + 3 - (whole[:cut].count(b"\n") - 1)
        assert path.read_bytes() == whole


def test_killed_at_random_moments_it_ends_with_the_identical_table(scene, training, tmp_path):
    start = time.perf_counter()
    expected = columns(scene.score(rungs=RACE, training=training))
    whole, killed = time.perf_counter() - start, 0
    for number, moment in enumerate(np.random.default_rng(7).uniform(0.05, 1, 8) * whole):
        path, child = tmp_path / str(number), os.fork()
        if not child:
            try:
                scene.score(rungs=RACE, training=training, journal=path)
            finally:
                os._exit(0)
        time.sleep(float(moment))
        os.kill(child, signal.SIGKILL)
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert columns(scene.score(rungs=RACE, training=training, journal=path)) == expected
    assert killed >= 4


@pytest.mark.parametrize(
    "change",
    [
        {"training": "other images"},
        {"training": "other labels"},
        {"training": "no labels"},
        {"rungs": [*RACE[:2], RACE[2].model_copy(update={"steps": 7})]},
        {"rungs": [*RACE[:2], RACE[2].model_copy(update={"learning_rate": 0.04})]},
        {"rungs": [*RACE[:2], RACE[2].model_copy(update={"recovery": None})]},
    ],
)
def test_training_on_anything_else_is_another_race(scene, training, tmp_path, change):
    scene.score(rungs=RACE, training=training, journal=tmp_path / "j")
    others = {
        "other images": (training[0].flip(0), training[1]),
        "other labels": (training[0], training[1].flip(0)),
        "no labels": (training[0], None),
    }
    options = {"rungs": RACE, "training": training, **change}
    options["training"] = others.get(change.get("training"), training)
    again = columns(scene.score(journal=tmp_path / "j", **options))
    assert again == columns(scene.score(**options))
