import math
from dataclasses import dataclass, fields

import numpy as np
import pytest
import torch

import eyas
from eyas.pruning.criteria import Criterion
from eyas.scoring import Rung, ScoreOptions, WidthPlans
from eyas.scoring.race.measurement import Measurement
from tests.scoring.networks import trained

FUSED = [Rung(images=240)]
HELD_OUT = [Rung(images=240, calibration_images=160, mode="held_out")]
RACE = [Rung(images=60, keep=0.5), Rung(images=120, keep=4), Rung(images=240, calibration_images=160, mode="held_out")]


@dataclass(frozen=True)
class Scene:
    model: torch.nn.Module
    space: object
    plans: WidthPlans
    calibration: torch.Tensor
    scoring: torch.Tensor
    labels: torch.Tensor

    def score(self, plans=None, **how):
        plans = self.plans if plans is None else plans
        images = (self.calibration, self.scoring, self.labels)
        return eyas.score(self.model, self.space, plans, *images, **arguments(**how))


def arguments(**how):
    """Arguments of ``eyas.score`` by name, the fields of its options among them."""
    names = {field.name for field in fields(ScoreOptions)} & how.keys()
    options = ScoreOptions(**{name: how.pop(name) for name in names})
    return {**how, "options": options}


def make_scene(norm=torch.nn.BatchNorm2d, candidates=24):
    model, data, labels = trained(norm)
    space = eyas.trace(model, (data[:2],))
    rng = np.random.default_rng(0)
    tops = [group.channels for group in space.groups]
    widths = np.unique(np.stack([rng.integers(2, top + 1, 4 * candidates) for top in tops], 1), axis=0)
    widths = rng.permutation(widths)[:candidates]
    plans = WidthPlans(widths, space.planner(Criterion.parse("l1_norm")))
    return Scene(model, space, plans, data[:160], data[160:], labels[160:])


def measured(score=0.1, image_scores=None):
    """A measurement with numbers that are hard to write."""
    return Measurement(score, 1 / 3, math.nan, 2.0, 7, image_scores)


def columns(table):
    """Every column's bytes, to compare tables bit for bit."""
    return {name: column.tobytes() for name, column in table.columns().items()}


@pytest.fixture(scope="session")
def scene():
    return make_scene()
