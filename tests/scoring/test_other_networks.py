"""Networks without batch-norm, with frozen norms, with several outputs."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

import eyas
from eyas.errors import DataError
from eyas.scoring import ScoreOptions
from tests.scoring.conftest import FUSED, HELD_OUT, make_scene
from tests.scoring.networks import Several, images


@pytest.mark.parametrize("norm", [nn.Identity, lambda c: nn.GroupNorm(c, c)], ids=["none", "group"])
def test_without_batch_norm_it_warns_and_evaluates(norm, caplog):
    scene = make_scene(norm, candidates=3)
    with caplog.at_level(logging.WARNING):
        fused, held_out = scene.score(rungs=FUSED), scene.score(rungs=HELD_OUT)
    assert "nothing to calibrate" in caplog.text
    assert any("plain evaluation" in warning for warning in fused.warnings)
    order = torch.Generator().manual_seed(0)
    torch.randperm(160, generator=order)
    shuffled = torch.randperm(240, generator=order)
    small = eyas.prune(scene.model, scene.space, scene.plans[1]).eval()
    expected = nn.functional.cross_entropy(small(scene.scoring[shuffled]).detach(), scene.labels[shuffled])
    assert fused.cross_entropy[1] == pytest.approx(float(expected), abs=1e-5)
    assert np.array_equal(fused.score, held_out.score)
    inputs = (scene.model, scene.space, scene.plans)
    for none in (None, scene.calibration[:0]):
        alone = eyas.score(*inputs, none, scene.scoring, scene.labels, rungs=HELD_OUT)
        assert alone.score == pytest.approx(held_out.score, abs=1e-6)
    same = eyas.score(*inputs, scene.scoring, scene.scoring, scene.labels, rungs=HELD_OUT)
    assert not any("calibration images" in warning for warning in same.warnings)  # there are none that calibrate


class FrozenNorm(nn.Module):
    """Batch-norm with fixed statistics, as detection libraries have it."""

    def __init__(self, channels):
        super().__init__()
        for name, value in {"weight": 1.0, "bias": 0.0, "running_mean": 0.1, "running_var": 2.0}.items():
            self.register_buffer(name, torch.full((channels,), value))

    def forward(self, x):
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return x * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


def test_frozen_norms_of_other_libraries_are_named():
    scene = make_scene(FrozenNorm, candidates=2)
    table = scene.score(rungs=FUSED)
    assert any(
        "2 normalisation layers with running" in warning and "(norm1, norm2)" in warning for warning in table.warnings
    )


@pytest.mark.parametrize(("kind", "choice"), [("tuple", 1), ("dict", "aux")])
def test_of_several_outputs_the_first_or_the_named_one_is_judged(scene, kind, choice):
    model = Several(scene.model, kind)
    space = eyas.trace(model, (images(2, 0),))
    plans = [space.plan({group.name: 5 for group in space.groups})]
    data = (scene.calibration, scene.scoring, scene.labels)
    plain = eyas.score(scene.model, scene.space, [scene.space.plan([5, 5])], *data, rungs=FUSED)
    usual = eyas.score(model, space, plans, *data, rungs=FUSED)
    named = eyas.score(model, space, plans, *data, rungs=FUSED, options=ScoreOptions(output=choice))
    assert usual.score[0] == pytest.approx(plain.score[0])
    assert named.score[0] != usual.score[0]
    with pytest.raises(DataError, match="is no tensor there"):
        eyas.score(model, space, plans, *data, rungs=FUSED, options=ScoreOptions(output="nowhere"))
