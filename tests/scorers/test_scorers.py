"""Scorers against formulas written out with numpy, and their contract."""

import numpy as np
import pytest
import torch

from eyas.scorers import Scorer

G = torch.Generator().manual_seed(0)
LOGITS, DENSE = torch.randn(40, 7, generator=G) * 3, torch.randn(40, 7, generator=G) * 3
LABELS = torch.randint(0, 7, (40,), generator=G)


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
    }[kind]


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_matches_its_formula(kind):
    np.testing.assert_allclose(Scorer.parse(kind)(LOGITS, LABELS, DENSE), oracle(kind), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_says_truly_what_it_needs(kind):
    scorer = Scorer.parse(kind)
    labels = LABELS if scorer.needs_labels else None
    dense = DENSE if scorer.needs_dense else None
    assert torch.equal(scorer(LOGITS, labels, dense), scorer(LOGITS, LABELS, DENSE))


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_the_best_answer_scores_highest(kind):
    scorer = Scorer.parse(kind)
    dense = torch.nn.functional.one_hot(LABELS, 7) * 30.0
    assert (scorer(dense, LABELS, dense) >= scorer(LOGITS, LABELS, dense)).all()


@pytest.mark.parametrize("kind", sorted(Scorer.registry))
def test_answers_per_pixel_are_averaged(kind):
    scorer = Scorer.parse(kind)
    maps, dense, labels = LOGITS.view(10, 4, 7), DENSE.view(10, 4, 7), LABELS.view(10, 4)
    per_pixel = scorer(LOGITS, LABELS, DENSE).view(10, 4).mean(1)
    got = scorer(maps.transpose(1, 2), labels, dense.transpose(1, 2))
    torch.testing.assert_close(got, per_pixel)
