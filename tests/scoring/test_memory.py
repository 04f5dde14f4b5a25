"""A device whose memory ends, and how much of it is asked for."""

import logging

import numpy as np
import pytest
import torch

import eyas
from eyas.errors import EyasError
from eyas.scoring import Rung
from eyas.scoring.dense_outputs import dense_outputs
from eyas.scoring.engine import Engine
from tests.scoring.conftest import FUSED


def test_out_of_memory_restarts_at_half_the_batch_and_says_so(scene, monkeypatch, caplog):
    launch, sizes = Engine.launch, []

    def small_device(self, plan, rung, batch_size):
        sizes.append(batch_size)
        if batch_size > 40 and len(sizes) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return launch(self, plan, rung, batch_size)

    monkeypatch.setattr(Engine, "launch", small_device)
    with caplog.at_level(logging.WARNING):
        table = scene.score(rungs=FUSED, batch_size=120)
    monkeypatch.undo()
    assert table.settings["batch_size"] == 30
    assert "began again with batches of 60" in caplog.text
    assert any("batches of 30" in warning for warning in table.warnings)
    assert np.array_equal(table.score, scene.score(rungs=FUSED, batch_size=30).score)


def test_a_dense_network_too_large_for_the_batch_ends_no_race(scene, monkeypatch):
    plain = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=FUSED)
    monkeypatch.setattr(
        "eyas.scoring.score_plans.dense_outputs", lambda engine, size: _limited(dense_outputs, engine, size)
    )
    again = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=FUSED)
    np.testing.assert_allclose(again.score, plain.score, atol=1e-6)


def _limited(work, engine, size):
    if size > 30:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return work(engine, size)


def test_a_device_without_room_for_two_images_is_an_error_in_words(scene, monkeypatch):
    def no_device(self, plan, rung, batch_size):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Engine, "launch", no_device)
    with pytest.raises(EyasError, match="does not hold a batch"):
        scene.score(rungs=FUSED)


def test_other_errors_are_not_taken_for_memory(scene, monkeypatch):
    def broken(self, plan, rung, batch_size):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Engine, "launch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        scene.score(rungs=FUSED)


def test_no_more_images_are_kept_than_are_looked_at(scene, monkeypatch):
    monkeypatch.setattr("eyas.scoring.score_plans.PROBE_IMAGES", 100)
    kept = []
    monkeypatch.setattr("eyas.scoring.score_plans.dense_outputs", lambda *a: kept.append(dense_outputs(*a)) or kept[0])
    plain = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=[Rung(images=80)])
    assert len(kept[0]) == 100
    monkeypatch.undo()
    again = eyas.score(scene.model, scene.space, scene.plans, scene.calibration, scene.scoring, rungs=[Rung(images=80)])
    assert np.array_equal(plain.score, again.score)


def test_images_that_do_not_fit_the_device_are_an_error_in_words(scene, monkeypatch):
    def too_large(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("eyas.scoring.image_sets.ImageSets.to", too_large)
    with pytest.raises(EyasError, match="does not hold the dense network and the images"):
        scene.score(rungs=FUSED)
