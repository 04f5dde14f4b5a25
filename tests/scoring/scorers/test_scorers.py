"""Scorers against formulas written out with numpy, and their contract."""

import numpy as np
import pytest
import torch

from eyas.errors import DataError
from eyas.scoring.scorers import Answers, Scorer

G = torch.Generator().manual_seed(0)
LOGITS, DENSE = torch.randn(40, 7, generator=G) * 3, torch.randn(40, 7, generator=G) * 3
LABELS = torch.randint(0, 7, (40,), generator=G)
FEATURES = torch.randn(40, 5, generator=G) + torch.nn.functional.one_hot(LABELS % 5, 5)
ANSWERS = Answers(LOGITS, LABELS, DENSE, FEATURES)
PER_PIXEL = sorted(kind for kind, member in Scorer.registry.items() if not member.needs_features)


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def oracle(kind):
    z, d, y = LOGITS.double().numpy(), DENSE.double().numpy(), LABELS.numpy()
    p, q = softmax(z), softmax(d)
    return {
        "cross_entropy": np.log(p[np.arange(40), y]),
        "top1": (z.argmax(1) == y).astype(float),
        "dense_kl": -(q * np.log(q / p)).sum(1),
        "dense_mse": -((z - d) ** 2).sum(1),
        "dense_probe": (softmax(left_out(FEATURES.double().numpy(), d, 0.1)) * q).sum(1),
    }[kind]


def left_out(x, targets, ridge):
    """One fit per image, of all others: their means, and the ridge as extra rows of a least-squares problem."""
    penalty, found = ridge * ((x - x.mean(0)) ** 2).sum() / x.shape[1], []
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        mx, my = x[others].mean(0), targets[others].mean(0)
        rows = np.vstack([x[others] - mx, np.sqrt(penalty) * np.eye(x.shape[1])])
        wanted = np.vstack([targets[others] - my, np.zeros((x.shape[1], 7))])
        weights, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
        found.append(my + (x[i] - mx) @ weights)
    return np.array(found)


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_matches_its_formula(kind):
    np.testing.assert_allclose(Scorer.parse(kind)(ANSWERS), oracle(kind), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_says_truly_what_it_needs(kind):
    scorer = Scorer.parse(kind)
    labels = LABELS if scorer.needs_labels else None
    dense = DENSE if scorer.needs_dense else None
    features = FEATURES if scorer.needs_features else None
    assert torch.equal(scorer(Answers(LOGITS, labels, dense, features)), scorer(ANSWERS))


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_the_best_answer_scores_highest(kind):
    scorer = Scorer.parse(kind)
    dense = torch.nn.functional.one_hot(LABELS, 7) * 30.0
    best = Answers(dense, LABELS, dense, dense)
    assert (scorer(best) >= scorer(Answers(LOGITS, LABELS, dense, FEATURES))).all()


@pytest.mark.parametrize("kind", PER_PIXEL)
def test_answers_per_pixel_are_averaged(kind):
    scorer = Scorer.parse(kind)
    maps, dense, labels = LOGITS.view(10, 4, 7), DENSE.view(10, 4, 7), LABELS.view(10, 4)
    per_pixel = scorer(ANSWERS).view(10, 4).mean(1)
    got = scorer(Answers(maps.transpose(1, 2), labels, dense.transpose(1, 2)))
    torch.testing.assert_close(got, per_pixel)


@pytest.mark.parametrize("width", [3, 39, 40, 64])
def test_the_probe_is_the_same_from_either_side(width):
    generator = torch.Generator().manual_seed(width)
    features = torch.randn(40, width, generator=generator) + LABELS[:, None] / 3
    dense = DENSE.double().numpy()
    expected = (softmax(left_out(features.double().numpy(), dense, 0.05)) * softmax(dense)).sum(1)
    got = Scorer.parse({"kind": "dense_probe", "ridge": 0.05})(Answers(LOGITS, None, DENSE, features))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_probe_does_not_see_scale_or_shift_of_the_features():
    probe = Scorer.parse("dense_probe")
    moved = probe(Answers(LOGITS, LABELS, DENSE, 50 * FEATURES - 3))
    torch.testing.assert_close(moved, probe(ANSWERS), rtol=1e-5, atol=1e-6)


def test_the_probe_of_dead_features_guesses():
    """As one answer for all images, the mean of the others' logits, agrees with them."""
    dead = Scorer.parse("dense_probe")(Answers(LOGITS, None, DENSE, torch.zeros(40, 5)))
    others = (DENSE.sum(0) - DENSE).double() / 39
    torch.testing.assert_close(dead, (others.softmax(1) * DENSE.double().softmax(1)).sum(1), rtol=1e-5, atol=1e-6)


def test_the_probe_refuses_answers_per_pixel():
    maps = Answers(LOGITS[:, :, None], LABELS[:, None], DENSE[:, :, None], FEATURES)
    with pytest.raises(DataError, match=r"dense_probe judges .*logits \(40, 7, 1\).*choose cross_entropy"):
        Scorer.parse("dense_probe")(maps)
