"""What makes a race another one, so that its journal is not continued, and what does not."""

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import eyas
from eyas.pruning.criteria import Criterion
from eyas.scoring import ScoreOptions, WidthPlans
from eyas.scoring.candidates import digests
from eyas.scoring.race.journal import RaceJournal
from eyas.scoring.race.race_fingerprint import sources
from eyas.scoring.scorers import Scorer
from tests.scoring.conftest import FUSED, RACE, columns, measured
from tests.scoring.networks import Net

SCORER = """
from typing import Literal
from eyas.scoring.scorers import Scorer

class Mine(Scorer):
    kind: Literal["mine"] = "mine"
    def __call__(self, outputs):
        return {sign}outputs.logits[:, 0]
"""


def test_another_version_of_the_users_own_scorer_is_another_race(scene, tmp_path):
    tables = []
    for number, sign in enumerate("+-"):
        (tmp_path / f"own{number}.py").write_text(SCORER.format(sign=sign))
        spec = importlib.util.spec_from_file_location(f"own{number}", tmp_path / f"own{number}.py")
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        try:
            tables.append(scene.score(rungs=FUSED, scorer=module.Mine(), journal=tmp_path / "j"))
        finally:
            del Scorer.registry["mine"]  # as in another process: in one, two files may not define one kind
    assert np.array_equal(tables[0].score, -tables[1].score)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"batch_size": 64},
        {"calibrator": "cumulative"},
        {"scorer": "top1"},
        {"prior": "log_widths"},
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
    continued = columns(scene.score(other, rungs=RACE, journal=tmp_path / "j"))
    assert continued == columns(scene.score(other, rungs=RACE))
    assert continued != columns(scene.score(rungs=RACE))


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
    inputs = (other, scene.space, scene.plans, scene.calibration, scene.scoring, scene.labels)
    journalled = eyas.score(*inputs, rungs=RACE, options=ScoreOptions(journal=tmp_path / "j"))
    assert columns(journalled) == columns(eyas.score(*inputs, rungs=RACE))


def test_rounding_of_other_threads_does_not_lose_the_journal(tmp_path):
    outputs = np.random.default_rng(0).normal(size=20).astype(np.float32)
    outputs[3] = np.nan
    journal = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8, sample_outputs=outputs)
    journal.add(0, 1, measured())
    journal.close()
    for factor, kept in ((1 + 1e-6, 1), (1.01, 0)):
        again = RaceJournal(tmp_path / "j", fingerprint="f", batch_size=8, sample_outputs=outputs * np.float32(factor))
        assert len(list(again.finished(0))) == kept
        again.close()


def test_every_source_file_of_the_package_is_in_the_fingerprint():
    package = Path(eyas.__file__).parent
    listed = {path.relative_to(package).as_posix() for path in sources()}
    assert {
        "pruning/space.py",
        "pruning/criteria/l1_norm.py",
        "scoring/scorers/top1.py",
        "scoring/score_plans.py",
    } <= listed
    assert listed == {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
