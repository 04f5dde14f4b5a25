"""Several workers: the identical table, whoever measures what, and whoever dies."""

import os
import signal
import sys
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.calibration import Calibrator
from eyas.component import import_plugin
from eyas.errors import EyasError, MissingExtraError, ParameterError
from eyas.scoring import Rung, ScoreOptions
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.image_sets import prepare_images
from eyas.scoring.memory import OutOfMemoryDuringScoringError
from eyas.scoring.scorers import Scorer
from eyas.scoring.workers.dispatch import WorkerLost, WorkerPool
from eyas.scoring.workers.local import LocalExecutor
from eyas.scoring.workers.pool import ProcessPool
from eyas.scoring.workers.ray import RayPool
from eyas.scoring.workers.task import start_task
from eyas.scoring.workers.transfer import pack, unpack
from tests.scoring.conftest import FUSED, RACE

SETTINGS = ScoringMethod(Calibrator.parse("pooled"), Scorer.parse("cross_entropy"))


class FakePool(WorkerPool):
    """Workers in this process; each entry of ``dies`` is one death, at ``chance`` per answer."""

    def __init__(self, engine, plans, workers, *, dies=(), chance=0.3, seed=0):
        super().__init__(plans, workers)
        self.engine, self.dies = engine, list(dies)
        self.chance = chance
        self.rng = np.random.default_rng(seed)
        self.boxes = [deque() for _ in range(workers)]
        self.started, self.deepest = 0, 0

    def start(self, worker):
        self.started += 1

    def submit(self, worker, task):
        self.boxes[worker].append(task)
        self.deepest = max(self.deepest, len(self.boxes[worker]))

    def wait(self):
        worker = self.rng.choice([number for number, box in enumerate(self.boxes) if box])
        if self.dies and self.rng.uniform() < self.chance:
            self.dies.pop()
            self.boxes[worker].clear()
            return [(worker, WorkerLost("gone"))]
        return [(worker, start_task(self.engine, self.boxes[worker].popleft())())]

    def close(self):
        pass


@pytest.fixture
def engine(scene):
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    return Engine(scene.model, scene.space, images, SETTINGS)


def measure_all(executor, rung):
    return {c: (m.score, m.accuracy, m.image_scores.tobytes()) for c, m in executor.measure(rung, 128, range(24))}


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("deaths", [0, 3])
def test_every_candidate_is_measured_once_whoever_dies(scene, engine, workers, deaths):
    executor = FakePool(engine, scene.plans, workers, dies=[True] * deaths, seed=workers)
    expected = measure_all(LocalExecutor(engine, scene.plans), FUSED[0])
    counts = [candidate for candidate, _ in executor.measure(FUSED[0], 128, range(24))]
    assert sorted(counts) == list(range(24))
    assert executor.started == deaths
    assert executor.deepest <= 2
    assert measure_all(executor, FUSED[0]) == expected


def test_workers_that_keep_dying_are_an_error_in_words(scene, engine):
    executor = FakePool(engine, scene.plans, 2, dies=[True] * 99, chance=0.9)
    with pytest.raises(EyasError, match="died 4 times without an answer, the last time with: gone"):
        list(executor.measure(FUSED[0], 128, range(24)))


def test_answers_to_an_abandoned_run_are_dropped(scene, engine):
    executor = FakePool(engine, scene.plans, 2)
    first = executor.measure(FUSED[0], 128, range(24))
    next(first)
    first.close()
    assert measure_all(executor, RACE[0]) == measure_all(LocalExecutor(engine, scene.plans), RACE[0])


def test_what_a_worker_cannot_do_is_said(scene, engine, monkeypatch):
    def fail(error):
        def launch(self, plan, rung, batch_size):
            raise error

        return launch

    executor = FakePool(engine, scene.plans, 1)
    monkeypatch.setattr(Engine, "launch", fail(RuntimeError("shapes differ")))
    with pytest.raises(EyasError, match="candidate 0 could not be scored: RuntimeError: shapes differ"):
        list(executor.measure(FUSED[0], 128, range(3)))
    monkeypatch.setattr(Engine, "launch", fail(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(OutOfMemoryDuringScoringError):
        list(executor.measure(FUSED[0], 128, range(3)))


def test_what_travels_holds_no_weights_and_makes_the_same_engine(scene, engine):
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    blueprint, tensors = pack(scene.model, scene.space, SETTINGS, images)
    assert all(p.is_meta for p in [*blueprint.skeleton.parameters(), *blueprint.skeleton.buffers()])
    assert blueprint.space.model is blueprint.skeleton
    assert scene.space.model is scene.model
    again = unpack(blueprint, tensors, "cpu")
    for rung in RACE:
        one, other = engine.measure(scene.plans[5], rung, 60), again.measure(scene.plans[5], rung, 60)
        assert one.score == other.score
        assert np.array_equal(one.image_scores, other.image_scores)


def test_a_network_that_cannot_travel_is_refused_in_words(scene):
    class Local(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = scene.model

        def forward(self, x):
            return self.inner(x)

    model = Local()
    space = eyas.trace(model, (scene.scoring[:2],))
    plans = [space.plan(), space.plan([5, 5])]
    with pytest.raises(ParameterError, match="top level of an importable module"):
        eyas.score(model, space, plans, scene.calibration, scene.scoring, scene.labels, options=ScoreOptions(workers=2))


def test_two_processes_give_the_identical_table(scene, tmp_path):
    one = scene.score(rungs=RACE)
    two = scene.score(rungs=RACE, workers=2, threads=1, journal=tmp_path / "j")
    for name, column in one.columns().items():
        assert np.array_equal(column, two.columns()[name]), name
    assert one.diagnostics == two.diagnostics


def test_a_killed_process_is_replaced_and_its_candidates_measured_again(scene, engine):
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    packed = pack(scene.model, scene.space, SETTINGS, images)
    executor = ProcessPool(*packed, scene.plans, workers=1, device="cpu", threads=1)
    try:
        measurements = {}
        for candidate, measured in executor.measure(FUSED[0], 128, range(24)):
            assert candidate not in measurements
            measurements[candidate] = (measured.score, measured.accuracy, measured.image_scores.tobytes())
            if len(measurements) == 5:
                first = executor._processes[0].process.pid
                os.kill(first, signal.SIGKILL)
        assert executor._processes[0].process.pid != first
        assert measurements == measure_all(LocalExecutor(engine, scene.plans), FUSED[0])
    finally:
        executor.close()
    assert not executor._processes[0].process.is_alive()


def test_without_ray_the_message_says_how_to_install_it(scene, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'eyas\[ray\]'"):
        scene.score(rungs=[Rung(images=60)], cluster="ray")


def test_on_ray_the_table_is_identical(scene):
    pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    one = scene.score(rungs=RACE)
    ray = scene.score(rungs=RACE, workers=2, threads=1, cluster="ray")
    for name, column in one.columns().items():
        assert np.array_equal(column, ray.columns()[name]), name


def test_a_lost_actor_is_replaced(scene, engine):
    ray = pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    packed = pack(scene.model, scene.space, SETTINGS, images)
    executor = RayPool(*packed, scene.plans, address="ray", workers=2, device="cpu", threads=1)
    try:
        measurements = {}
        for candidate, measured in executor.measure(FUSED[0], 128, range(24)):
            assert candidate not in measurements
            measurements[candidate] = (measured.score, measured.accuracy, measured.image_scores.tobytes())
            if len(measurements) == 5:
                ray.kill(executor._actors[0])
        assert not any(executor._losses)
        assert measurements == measure_all(LocalExecutor(engine, scene.plans), FUSED[0])
    finally:
        executor.close()
    assert not ray.is_initialized()


SPREAD = """
from typing import Literal
from eyas.scoring.scorers import Scorer


class Spread(Scorer):
    kind: Literal["spread"] = "spread"

    def __call__(self, outputs):
        return outputs.logits.amax(1) - outputs.logits.amin(1)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A scorer in a folder that only this process looks for modules in, at the end of its path."""
    (tmp_path / "spread_plugin.py").write_text(SPREAD)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import_plugin("spread_plugin", "this test")
    yield tmp_path / "spread_plugin.py"
    del Scorer.registry["spread"], sys.modules["spread_plugin"]


@pytest.mark.parametrize("cluster", [None, "ray"])
def test_workers_score_by_a_plugin(scene, plugin, cluster):
    if cluster:
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    one = scene.score(rungs=FUSED, scorer="spread")
    several = scene.score(rungs=FUSED, scorer="spread", workers=2, threads=1, cluster=cluster)
    for name, column in one.columns().items():
        assert np.array_equal(column, several.columns()[name]), name


@pytest.mark.parametrize("cluster", [None, "ray"])
def test_a_plugin_that_a_worker_does_not_have_is_told_in_one_line(scene, plugin, cluster):
    if cluster:
        pytest.importorskip("ray", reason="Ray is an extra: pip install 'eyas[ray]'")
    plugin.unlink()
    with pytest.raises(EyasError, match=r"No module named 'spread_plugin'.*plugins come from: keep these in") as told:
        scene.score(rungs=FUSED, scorer="spread", workers=1 + (cluster is None), threads=1, cluster=cluster)
    assert "\n" not in str(told.value)
