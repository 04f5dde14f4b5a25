"""Guidance by features: alignment against its definitions, kept channels against the pruned network's own, the loop."""

from itertools import permutations

import pytest
import torch
from torch import nn

import eyas
import models
from eyas.errors import ParameterError
from eyas.training import DenseTeacher, train
from eyas.training.guidance import Guidance, cka
from eyas.training.guided_loss import GuidedLoss
from eyas.training.optimiser_step import Networks
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from tests.training.helpers import state_hash, train_killed

IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
ANSWERS = ((torch.arange(6) % 10, 1.0),)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def space():
    torch.manual_seed(0)
    return eyas.trace(models.build("resnet8", 10, width=8, in_channels=1).eval(), (IMAGES[:1],))


def halved(space, *groups):
    """The network with half the channels of some groups, the teacher it came from, and what it keeps."""
    widths = {name: width // 2 if name in groups else width for name, width in space.widths.items()}
    plan = space.plan(widths)
    return eyas.prune(space.model, space, plan), DenseTeacher(space.model, space, plan)


@pytest.mark.parametrize("unbiased", [True, False])
def test_alignment_of_equal_features_is_one_whatever_turn_and_scale(unbiased):
    x, y = drawn(9, 5), drawn(9, 7, seed=1)
    turn, _ = torch.linalg.qr(drawn(5, 5, seed=2))
    assert float(cka(x, x, unbiased=unbiased)) == pytest.approx(1)
    assert float(cka(x, -3 * x @ turn, unbiased=unbiased)) == pytest.approx(1)
    torch.testing.assert_close(cka(x @ turn, 0.1 * y, unbiased=unbiased), cka(x, y, unbiased=unbiased))
    torch.testing.assert_close(cka(x + 4, y - 1, unbiased=unbiased), cka(x, y, unbiased=unbiased))


def test_biased_alignment_is_its_form_in_features():
    x, y = drawn(9, 5), drawn(9, 7, seed=1)
    x_0, y_0 = x - x.mean(0), y - y.mean(0)
    expected = (x_0.T @ y_0).square().sum() / ((x_0.T @ x_0).norm() * (y_0.T @ y_0).norm())
    torch.testing.assert_close(cka(x, y, unbiased=False), expected)


def test_unbiased_alignment_is_the_mean_over_four_different_images():
    x, y = drawn(6, 2), drawn(6, 3, seed=1)

    def hsic(a, b):
        quadruples = list(permutations(range(6), 4))
        return sum(a[i, j] * (b[i, j] + b[q, r] - 2 * b[i, q]) for i, j, q, r in quadruples) / len(quadruples)

    own, other = x @ x.T, y @ y.T
    torch.testing.assert_close(cka(x, y), hsic(own, other) / (hsic(own, own) * hsic(other, other)).sqrt())


def test_unrelated_features_are_not_alike_unless_the_estimate_is_biased():
    x, y = drawn(16, 200), drawn(16, 200, seed=1)
    assert abs(float(cka(x, y))) < 0.1
    assert float(cka(x, y, unbiased=False)) > 0.8


def test_attention_is_where_a_layer_looks_whatever_its_scale_and_channels():
    x, y = drawn(3, 4, 2, 5), drawn(3, 7, 2, 5, seed=1)
    guidance = Guidance(measure="attention")
    expected = []
    for image in range(3):
        maps = []
        for features in (x, y):
            squares = [sum(float(v) ** 2 for v in features[image, :, h, w]) for h in range(2) for w in range(5)]
            length = sum(s * s for s in squares) ** 0.5
            maps.append([s / length for s in squares])
        expected.append(sum((a - b) ** 2 for a, b in zip(*maps, strict=True)))
    assert float(guidance.distance(x, y)) == pytest.approx(sum(expected) / 3)
    assert float(guidance.distance(x, x)) == 0
    assert float(guidance.distance(x, -3 * x[:, [2, 0, 1, 3]])) == pytest.approx(0, abs=1e-12)
    dead = torch.zeros(3, 4, 2, 5, dtype=torch.float64, requires_grad=True)
    guidance.distance(dead, y).backward()
    assert dead.grad.isfinite().all()


def test_only_the_channels_that_the_plan_keeps_are_compared(space):
    """In eval mode the first layer's kept channels are the dense network's, exactly; what reads fewer is not."""
    first = next(iter(space.widths))
    small, teacher = halved(space, first)
    networks = Networks(small.eval(), teacher.model.eval(), slices=teacher.slices)
    loss = GuidedLoss(SGD(), networks, Guidance())
    narrow = {name: kept for name, kept in loss.kept.items() if kept is not None}
    outputs = []
    with torch.no_grad():
        for model in (small, teacher.model):
            name = next(iter(narrow))
            handle = model.get_submodule(name).register_forward_hook(lambda *call: outputs.append(call[2].clone()))
            model(IMAGES)
            handle.remove()
        assert float(loss(IMAGES, ANSWERS) - SGD().objective(networks)(IMAGES, ANSWERS)) > 0.01
    seen, dense = outputs
    assert seen.shape[1] == space.widths[first] // 2
    torch.testing.assert_close(seen, dense[:, narrow[name]])
    assert float(Guidance().distance(seen, dense[:, narrow[name]])) < 1e-10


@pytest.mark.parametrize("measure", ["kept_channels", "cka", "attention"])
def test_an_unpruned_network_is_at_no_distance_and_passes_no_gradient(space, measure):
    small, teacher = halved(space)
    networks = Networks(small.eval(), teacher.model.eval(), slices=teacher.slices)
    recipe = SGD(guidance={"measure": measure, "weight": 3.0})
    loss = recipe.objective(networks)(IMAGES, ANSWERS)
    plain = SGD().objective(networks)(IMAGES, ANSWERS)
    torch.testing.assert_close(loss, plain, atol=1e-5, rtol=0)
    (loss - plain).backward()
    assert max(float(weight.grad.abs().max()) for weight in small.parameters()) < 1e-3


def test_the_weight_scales_the_mean_over_layers(space):
    small, teacher = halved(space, *space.widths)
    networks = Networks(small.eval(), teacher.model.eval(), slices=teacher.slices)
    plain, once, thrice = (
        float(SGD(guidance=guidance).objective(networks)(IMAGES, ANSWERS).detach())
        for guidance in (None, {"weight": 1.0}, {"weight": 3.0})
    )
    assert thrice - plain == pytest.approx(3 * (once - plain), rel=1e-4)


@pytest.mark.parametrize("measure", ["kept_channels", "cka", "attention"])
def test_training_brings_the_features_nearer_and_resumes(space, digits, measure, tmp_path):
    recipe = Recipe.parse({"kind": "sgd", "batch_size": 32, "distillation": None, "guidance": {"measure": measure}})
    unbroken, teacher = halved(space, *space.widths)
    hooks = [len(layer._forward_hooks) for layer in (*unbroken.modules(), *teacher.model.modules())]
    before = state_hash(teacher.model)
    history = train(unbroken, *digits[:2], recipe=recipe, epochs=3, teacher=teacher).history
    assert history[-1].train_loss < history[0].train_loss
    assert state_hash(teacher.model) == before
    assert hooks == [len(layer._forward_hooks) for layer in (*unbroken.modules(), *teacher.model.modules())]
    train_killed(
        halved(space, *space.widths)[0], *digits[:2], recipe=recipe, epochs=3, teacher=teacher, resume_folder=tmp_path
    )
    resumed = halved(space, *space.widths)[0]
    train(resumed, *digits[:2], recipe=recipe, epochs=3, teacher=teacher, resume_folder=tmp_path)
    assert state_hash(resumed) == state_hash(unbroken)


def test_other_widths_without_their_plan_are_refused_where_channels_are_compared(space, digits):
    small, teacher = halved(space, *space.widths)
    with pytest.raises(ParameterError, match=r"keeps: \S+ has 4, the teacher's 8; give a DenseTeacher"):
        train(small, *digits[:2], recipe=SGD(guidance={}), epochs=1, teacher=teacher.model)
    for measure in ("cka", "attention"):
        train(small, *digits[:2], recipe=SGD(guidance={"measure": measure}), epochs=1, teacher=teacher.model)


def test_a_network_without_such_layers_is_refused(digits):
    plain = [nn.Sequential(nn.Flatten(), nn.Linear(64, 10)) for _ in range(2)]
    with pytest.raises(ParameterError, match="both networks share none"):
        train(plain[0], *digits[:2], recipe=SGD(guidance={}), epochs=1, teacher=plain[1])


def test_without_a_teacher_nothing_guides(digits, tiny):
    plain, guided = tiny(), tiny()
    train(plain, *digits[:2], recipe=SGD(batch_size=64), epochs=1)
    train(guided, *digits[:2], recipe=SGD(batch_size=64, guidance={}), epochs=1)
    assert state_hash(plain) == state_hash(guided)
    assert SGD(guidance={}, distillation=None).wants_teacher
