"""Scorers against the formula that each spells out, and their contract; every member of the family is picked up."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from eyas.data.tasks import IGNORED
from eyas.errors import DataError
from eyas.scoring.scorers import Outputs, Scorer

G = torch.Generator().manual_seed(0)
LOGITS, DENSE = torch.randn(40, 7, generator=G) * 3, torch.randn(40, 7, generator=G) * 3
LABELS = torch.randint(0, 7, (40,), generator=G)
FEATURES = torch.randn(40, 5, generator=G) + torch.nn.functional.one_hot(LABELS % 5, 5)
OUTPUTS = Outputs(LOGITS, LABELS, DENSE, FEATURES)
KINDS = sorted(Scorer.registry)
PER_PIXEL = sorted({kind for kind, member in Scorer.registry.items() if not member.needs_features} - {"mean_iou"})
"""Those that average over pixels; intersections and unions are summed first."""


def in_float64(outputs):
    values = {name: value.double() if value.is_floating_point() else value for name, value in vars(outputs).items()}
    return Outputs(**values)


@pytest.mark.parametrize("kind", KINDS)
def test_matches_its_formula(kind):
    scorer = Scorer.parse(kind)
    np.testing.assert_allclose(scorer(OUTPUTS), scorer.reference(in_float64(OUTPUTS)), rtol=1e-4, atol=1e-5)


class NoArithmeticOfTorch(TorchFunctionMode):
    """Tensors may be read, not computed with."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function.__name__ in {"tolist", "numpy", "double", "__get__"}, function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", KINDS)
def test_its_formula_is_computed_another_way(kind):
    outputs = in_float64(OUTPUTS)
    with NoArithmeticOfTorch():
        assert all(isinstance(value, float) for value in Scorer.parse(kind).reference(outputs))
    with pytest.raises(AssertionError), NoArithmeticOfTorch():
        Scorer.parse(kind)(outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_has_a_label_of_its_own(kind):
    others = [member.label for other, member in Scorer.registry.items() if other != kind]
    assert Scorer.registry[kind].label not in [Scorer.label, *others]


@pytest.mark.parametrize("kind", KINDS)
def test_says_truly_what_it_needs(kind):
    scorer = Scorer.parse(kind)
    labels = LABELS if scorer.needs_labels else None
    dense = DENSE if scorer.needs_dense else None
    features = FEATURES if scorer.needs_features else None
    assert torch.equal(scorer(Outputs(LOGITS, labels, dense, features)), scorer(OUTPUTS))


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_answer_scores_highest(kind):
    scorer = Scorer.parse(kind)
    dense = torch.nn.functional.one_hot(LABELS, 7) * 30.0
    best = Outputs(dense, LABELS, dense, dense)
    assert (scorer(best) >= scorer(Outputs(LOGITS, LABELS, dense, FEATURES))).all()


@pytest.mark.parametrize("kind", PER_PIXEL)
def test_answers_per_pixel_are_averaged(kind):
    scorer = Scorer.parse(kind)
    maps, dense, labels = LOGITS.view(10, 4, 7), DENSE.view(10, 4, 7), LABELS.view(10, 4)
    per_pixel = scorer(OUTPUTS).view(10, 4).mean(1)
    got = scorer(Outputs(maps.transpose(1, 2), labels, dense.transpose(1, 2)))
    torch.testing.assert_close(got, per_pixel)


def test_mean_iou_by_hand():
    labels = torch.tensor([[[0, 0, 1], [0, IGNORED, 1]], [[2, 2, 2], [2, 2, 2]]])
    answers = torch.tensor([[[0, 1, 1], [0, 1, 1]], [[2, 2, 2], [2, 0, 0]]])
    logits = torch.nn.functional.one_hot(answers, 4).permute(0, 3, 1, 2).float()
    expected = torch.tensor([(2 / 3 + 2 / 3) / 2, (0 + 4 / 6) / 2])  # the ignored pixel counts nowhere
    torch.testing.assert_close(Scorer.parse("mean_iou")(Outputs(logits, labels)), expected)


def test_mean_iou_weighs_a_rare_class_as_much_as_a_common_one():
    labels = torch.zeros(2, 10, 10, dtype=torch.int64)
    labels[:, 0, :2] = 1  # 2 of 100 pixels
    answers = labels.clone()
    answers[0, 0, :2] = 0  # the rare class is lost
    answers[1, 5, :2] = 1  # as many pixels are wrong, and it is seen
    outputs = Outputs(torch.nn.functional.one_hot(answers, 2).permute(0, 3, 1, 2).float(), labels)
    first, second = Scorer.parse("top1")(outputs)
    assert first == second
    first, second = Scorer.parse("mean_iou")(outputs)
    assert first < second - 0.2


@pytest.mark.parametrize("width", [3, 39, 40, 64])
def test_the_probe_is_the_same_from_either_side(width):
    generator = torch.Generator().manual_seed(width)
    features = torch.randn(40, width, generator=generator) + LABELS[:, None] / 3
    probe, outputs = Scorer.parse({"kind": "dense_probe", "ridge": 0.05}), Outputs(LOGITS, None, DENSE, features)
    np.testing.assert_allclose(probe(outputs), probe.reference(outputs), rtol=1e-6)


def test_the_probe_does_not_see_scale_or_shift_of_the_features():
    probe = Scorer.parse("dense_probe")
    moved = probe(Outputs(LOGITS, LABELS, DENSE, 50 * FEATURES - 3))
    torch.testing.assert_close(moved, probe(OUTPUTS), rtol=1e-5, atol=1e-6)


def test_the_probe_of_dead_features_guesses():
    """As one answer for all images, the mean of the others' logits, agrees with them."""
    dead = Scorer.parse("dense_probe")(Outputs(LOGITS, None, DENSE, torch.zeros(40, 5)))
    others = (DENSE.sum(0) - DENSE).double() / 39
    torch.testing.assert_close(dead, (others.softmax(1) * DENSE.double().softmax(1)).sum(1), rtol=1e-5, atol=1e-6)


def test_the_probe_refuses_answers_per_pixel():
    maps = Outputs(LOGITS[:, :, None], LABELS[:, None], DENSE[:, :, None], FEATURES)
    with pytest.raises(DataError, match=r"dense_probe judges .*logits \(40, 7, 1\).*choose cross_entropy"):
        Scorer.parse("dense_probe")(maps)
