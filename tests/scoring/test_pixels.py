"""Scoring networks that answer per pixel, of which some have no class."""

import math

import pytest
import torch
from torch import nn

import eyas
from eyas.data.tasks import IGNORED
from eyas.errors import DataError
from eyas.scoring import ScoreOptions
from eyas.scoring.scorers import Outputs, Scorer

K = 3


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8),
        nn.ReLU(), nn.Conv2d(8, K, 1),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def data() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    images, labels = torch.randn(40, 3, 6, 6), torch.randint(0, K, (40, 6, 6)).short()
    labels[torch.rand(labels.shape) < 0.3] = IGNORED
    return images, labels


@pytest.mark.parametrize("kind", ["cross_entropy", "top1"])
def test_each_image_scores_the_mean_of_its_labelled_pixels(kind, data) -> None:
    torch.manual_seed(2)
    logits, labels = torch.randn(5, K, 6, 6), data[1][:5].long()
    scorer = Scorer.parse(kind)
    for image, score in enumerate(scorer(Outputs(logits, labels)).tolist()):
        rows = logits[image].movedim(0, -1)[labels[image] != IGNORED]
        alone = scorer.reference(Outputs(rows, labels[image][labels[image] != IGNORED]))
        assert score == pytest.approx(sum(alone) / len(alone), abs=1e-6)


def test_what_ignored_pixels_show_decides_nothing(model, data) -> None:
    images, labels = data
    space = eyas.trace(model, (images[:2],))
    plans = [space.plan({group.name: width for group in space.groups}) for width in (4, 6)]

    def scores(labels):
        table = eyas.score(model, space, plans, images[20:], images[:20], labels[:20], rungs=[{"images": 20}])
        return table.score.tolist(), table.accuracy.tolist()

    before = scores(labels)
    assert all(math.isfinite(value) for column in before for value in column)
    assert before != scores(labels.clamp(min=0))  # class 0 instead of none: other scores


def test_candidates_are_trained_on_labelled_pixels(model, data) -> None:
    images, labels = data
    space = eyas.trace(model, (images[:2],))
    plans = [space.plan({group.name: width for group in space.groups}) for width in (4, 6)]
    options = ScoreOptions(training=(images[20:], labels[20:]))
    rungs = [{"steps": 3, "images": 20, "batch_size": 8}]
    table = eyas.score(model, space, plans, images[:10], images[:20], labels[:20], rungs=rungs, options=options)
    assert all(math.isfinite(value) for value in table.score)


def test_an_image_without_a_single_class_is_refused(model, data) -> None:
    images, labels = data
    space, labels = eyas.trace(model, (images[:2],)), labels.clone()
    labels[3] = IGNORED
    with pytest.raises(DataError, match=r"1 of the `scoring_labels` hold no class at all"):
        eyas.score(model, space, [space.plan()], images, images, labels, rungs=[{"images": 20}])


def test_other_negative_numbers_are_no_class(model, data) -> None:
    images, labels = data
    space = eyas.trace(model, (images[:2],))
    with pytest.raises(DataError, match=r"hold -1 where the network has 3 classes: .*-100 where a pixel has none"):
        eyas.score(model, space, [space.plan()], images, images, labels.clamp(min=-1), rungs=[{"images": 20}])
