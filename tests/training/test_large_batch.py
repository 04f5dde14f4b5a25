"""LARS and LAMB against their recurrences in plain floats, and by what makes them layer-wise."""

import math

import pytest
import torch

from eyas.training import train
from eyas.training.large_batch import Lamb, Lars
from eyas.training.recipes import Recipe
from tests.training.helpers import state_hash, train_killed

GRADIENTS = [[3.0, -4.0], [0.5, 0.25], [-1.0, 2.0]]


def steps(optimizer, weight, gradients=GRADIENTS):
    """The weight after each step."""
    after = []
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=weight.dtype)
        optimizer.step()
        after.append(weight.detach().clone())
    return after


def parameter(values=(1.0, 2.0)):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


def norm(vector):
    return math.sqrt(sum(value**2 for value in vector))


def test_lars_is_its_recurrence():
    w, m = [1.0, 2.0], [0.0, 0.0]
    weight = parameter()
    after = steps(Lars([weight], lr=5.0, momentum=0.8, weight_decay=0.1, trust_coefficient=0.02), weight)
    for g, actual in zip(GRADIENTS, after, strict=True):
        trust = 0.02 * norm(w) / (norm(g) + 0.1 * norm(w) + 1e-8)
        m = [0.8 * old + trust * (slope + 0.1 * value) for old, slope, value in zip(m, g, w, strict=True)]
        w = [value - 5.0 * step for value, step in zip(w, m, strict=True)]
        assert actual.tolist() == pytest.approx(w, rel=1e-12)


def test_lamb_is_its_recurrence():
    w, m, v = [1.0, 2.0], [0.0, 0.0], [0.0, 0.0]
    weight = parameter()
    after = steps(Lamb([weight], lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2), weight)
    for t, (g, actual) in enumerate(zip(GRADIENTS, after, strict=True), start=1):
        m = [0.8 * old + 0.2 * slope for old, slope in zip(m, g, strict=True)]
        v = [0.9 * old + 0.1 * slope**2 for old, slope in zip(v, g, strict=True)]
        r = [
            a / (1 - 0.8**t) / (math.sqrt(b / (1 - 0.9**t)) + 1e-3) + 0.2 * value
            for a, b, value in zip(m, v, w, strict=True)
        ]
        w = [value - 0.1 * norm(w) / norm(r) * step for value, step in zip(w, r, strict=True)]
        assert actual.tolist() == pytest.approx(w, rel=1e-12)


def test_a_step_of_lamb_is_as_long_as_the_learning_rate_says():
    weight, before = parameter((0.3, -4.0)), parameter((0.3, -4.0)).detach()
    for after in steps(Lamb([weight], lr=0.05), weight):
        assert float((after - before).norm()) == pytest.approx(0.05 * float(before.norm()))
        before = after


def test_lamb_does_not_see_the_scale_of_the_loss():
    plain, scaled = parameter(), parameter()
    expected = steps(Lamb([plain], eps=0.0), plain)
    actual = steps(Lamb([scaled], eps=0.0), scaled, [[100 * slope for slope in gradient] for gradient in GRADIENTS])
    torch.testing.assert_close(actual, expected)


def test_the_first_step_of_lars_is_a_share_of_the_weights():
    weight = parameter()
    (after,) = steps(Lars([weight], lr=2.0, weight_decay=1e-12, trust_coefficient=0.01), weight, [[30.0, 40.0]])
    assert (parameter().detach() - after).tolist() == pytest.approx(
        [0.02 * math.sqrt(5) * share for share in (0.6, 0.8)]
    )


def test_without_decay_they_are_adam_and_sgd():
    """The proportion of a group without weight decay is 1."""
    lamb, adam = parameter(), parameter()
    expected = steps(torch.optim.Adam([adam], lr=0.01, eps=1e-6), adam)
    torch.testing.assert_close(steps(Lamb([lamb], lr=0.01, weight_decay=0), lamb), expected)
    lars, sgd = parameter(), parameter()
    expected = steps(torch.optim.SGD([sgd], lr=0.01, momentum=0.9), sgd)
    torch.testing.assert_close(steps(Lars([lars], lr=0.01, weight_decay=0), lars), expected)


@pytest.mark.parametrize("optimizer", [Lamb, Lars])
def test_zeros_learn(optimizer):
    weight = parameter((0.0, 0.0))
    assert steps(optimizer([weight]), weight)[-1].isfinite().all()
    assert weight.detach().norm() > 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lamb", {"learning_rate": 0.05}),
        ("lars", {"learning_rate": 0.2, "optimizer_arguments": {"trust_coefficient": 0.1}}),
    ],
)
def test_by_name_they_train_and_resume(name, options, digits, tiny, tmp_path):
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "optimizer": name, **options})
    assert recipe.weight_decay == {"lamb": 0.01, "lars": 5e-4}[name]  # its own default
    unbroken, resumed = tiny(), tiny()
    history = train(unbroken, *digits[:2], recipe=recipe, epochs=3).history
    assert history[-1].train_loss < 0.95 * history[0].train_loss
    train_killed(tiny(), *digits[:2], recipe=recipe, epochs=3, resume_folder=tmp_path)
    assert train(resumed, *digits[:2], recipe=recipe, epochs=3, resume_folder=tmp_path).resumed_from == 2
    assert state_hash(resumed) == state_hash(unbroken)
