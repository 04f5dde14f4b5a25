"""Scorers that judge features: what goes into the last linear layer, collected from the pass that scores anyway."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import eyas
from eyas.calibration import Calibrator
from eyas.errors import DataError
from eyas.scoring.dense_outputs import dense_outputs
from eyas.scoring.engine import Engine, ScoringMethod
from eyas.scoring.features import collect_features, find_head
from eyas.scoring.image_sets import prepare_images
from eyas.scoring.scorers import Outputs, Scorer
from tests.scoring.conftest import FUSED, HELD_OUT


class TwoHeads(nn.Module):
    """``last`` is written first and called last."""

    def __init__(self):
        super().__init__()
        self.last, self.first, self.unused = nn.Linear(5, 3), nn.Linear(4, 5), nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


def test_the_head_is_the_linear_layer_that_makes_the_output():
    model = TwoHeads().train()
    assert find_head(model, torch.randn(2, 4)) == "last"
    assert model.training
    assert not model.last._forward_pre_hooks


def test_features_are_the_heads_inputs_in_order():
    model, images = TwoHeads(), torch.randn(6, 4)
    with collect_features(model, "last") as features:
        model(images[:4])
        model(images[4:])
    torch.testing.assert_close(torch.cat(features), torch.relu(model.first(images)))
    assert not model.last._forward_pre_hooks


def test_a_network_without_a_linear_layer_is_refused():
    with pytest.raises(DataError, match="Sequential.*torch.nn.Linear.*choose `scorer` cross_entropy"):
        find_head(nn.Sequential(nn.Conv2d(3, 4, 1)), torch.randn(1, 3, 2, 2))


class Branches(nn.Module):
    """A classifier, and a linear layer called after it; ``how`` says what is returned."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.head, self.aux = nn.Linear(4, 5), nn.Linear(4, 5)

    def forward(self, x):
        if self.how == "named":
            return self.head(input=x)
        if self.how == "functional":
            return nn.functional.linear(x, self.head.weight, self.head.bias)
        logits, aux = self.head(x), self.aux(x * 2)
        return {
            "tuple": lambda: (logits, aux),
            "view": lambda: logits.view(-1, 5),
            "copy": lambda: logits.clone(),
            "cast": lambda: logits.double(),
            "gate": lambda: logits * aux.sigmoid(),
            "twice": lambda: self.head(x * 3),
        }[self.how]()


@pytest.mark.parametrize(
    ("how", "output", "head"),
    [
        ("tuple", None, "head"),
        ("tuple", 1, "aux"),
        ("tuple", -1, "aux"),
        ("view", None, "head"),
        ("copy", None, "head"),
        ("cast", None, "head"),
    ],
)
def test_a_layer_called_later_is_not_the_head(how, output, head):
    assert find_head(Branches(how).eval(), torch.randn(2, 4), output) == head


@pytest.mark.parametrize("how", ["gate", "twice", "named", "functional"])
def test_an_output_that_no_linear_layer_makes_alone_is_refused(how):
    with pytest.raises(DataError, match=r"Branches.*torch.nn.Linear.*cross_entropy.*dense_kl"):
        find_head(Branches(how).eval(), torch.randn(2, 4))


@pytest.mark.parametrize("workers", [1, 2])
def test_candidates_are_judged_by_their_own_features(scene, workers):
    table = scene.score(scene.plans[:5], rungs=HELD_OUT, scorer="dense_probe", workers=workers, threads=1)
    small = eyas.prune(scene.model, scene.space, scene.plans[3])
    order = torch.randperm(160, generator=torch.Generator().manual_seed(0))
    Calibrator.parse("pooled")(small, scene.calibration[order].split(80))
    kept = []
    small.head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    logits, dense = small.eval()(scene.scoring).detach(), scene.model(scene.scoring).detach()
    expected = Scorer.parse("dense_probe").reference(Outputs(logits, None, dense, kept[0]))
    assert table.score[3] == pytest.approx(sum(expected) / 240, abs=1e-5)
    assert table.accuracy[3] == pytest.approx(float((logits.argmax(1) == scene.labels).float().mean()))


def test_spoiling_a_candidates_last_layer_changes_top1_and_not_the_probe(scene):
    method = ScoringMethod(Calibrator.parse("pooled"), Scorer.parse("dense_probe"))
    images = prepare_images(scene.calibration, scene.scoring, scene.labels, seed=0)
    engine = Engine(scene.model, scene.space, images, method)
    engine.images = replace(engine.images, dense=dense_outputs(engine, 128))
    before, spoilt = (eyas.prune(scene.model, scene.space, scene.plans[3]).eval() for _ in range(2))
    nn.init.zeros_(spoilt.head.weight)
    one, other = (engine.evaluate(model, FUSED[0], 128)() for model in (before, spoilt))
    assert one.score == other.score
    assert one.accuracy > other.accuracy
