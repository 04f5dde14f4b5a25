"""What surrounds a call: the caller's autocast, the machine's cores, a process that may start no other."""

import logging
import multiprocessing
import os

import numpy as np
import pytest
import torch

from eyas.errors import EyasError
from eyas.scoring.workers import start
from tests.scoring.conftest import FUSED, HELD_OUT, make_scene


def test_the_callers_autocast_stays_outside(scene):
    plain = scene.score(rungs=HELD_OUT)
    with torch.autocast("cpu", torch.bfloat16):
        inside = scene.score(rungs=HELD_OUT)
        assert torch.is_autocast_enabled("cpu")
    assert np.array_equal(plain.score, inside.score)
    assert inside.settings["precision"] == "float32"


def test_there_are_no_more_workers_than_distinct_candidates(scene, monkeypatch):
    pools = []

    def pool(*_, **how):
        pools.append(how["workers"])
        raise EyasError("stop")

    monkeypatch.setattr(start, "ProcessPool", pool)
    for plans in (scene.plans[:3], [scene.plans[n] for n in (1, 2, 1, 2)]):
        with pytest.raises(EyasError, match="stop"):
            scene.score(plans, rungs=FUSED, workers=8)
    assert pools == [3, 2]
    scene.score(scene.plans[:1], rungs=FUSED, workers=8)
    assert pools == [3, 2]


@pytest.mark.parametrize(("workers", "threads", "said"), [(2, 1, False), (3, 1, True), (2, 2, True), (3, None, True)])
def test_more_threads_than_cores_are_said(scene, monkeypatch, caplog, workers, threads, said):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(start, "ProcessPool", lambda *_, **how: 1 / 0)
    with caplog.at_level(logging.WARNING), pytest.raises(ZeroDivisionError):
        scene.score(rungs=FUSED, workers=workers, threads=threads)
    assert ("share 2 cores" in caplog.text) == said


def _score_with_workers(pipe):
    try:
        make_scene(candidates=3).score(rungs=FUSED, workers=2)
    except EyasError as error:
        pipe.send(str(error))


def test_a_daemonic_process_is_told_to_score_alone():
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_score_with_workers, args=(theirs,), daemon=True)
    process.start()
    assert ours.poll(120)
    assert "`workers` 1" in ours.recv()
    process.join(30)
