"""A step of the user's own: equal to the recipe's where it does the same, resumed, and its faults in words."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD
from eyas.training.trial_batch import check_recipe
from tests.training.helpers import state_hash, train_killed


def plain(model, teacher, optimizer, scale=1.0):
    def step(images, labels):
        loss = scale * cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return step


def tells_the_teacher(model, teacher, optimizer):
    raise ValueError(f"teacher in training: {teacher.training}")


def takes_nothing():
    return None


def no_function(model, teacher, optimizer):
    return 3


def per_image(model, teacher, optimizer):
    return lambda images, labels: cross_entropy(model(images), labels, reduction="none")


def breaks(model, teacher, optimizer):
    def step(images, labels):
        raise KeyError("mask")

    return step


def custom(function, **options):
    return Recipe.parse({"kind": "custom", "factory": f"{__name__}:{function}", "batch_size": 32, **options})


def test_plain_steps_are_those_of_sgd(digits, tiny):
    own, sgd = tiny(), tiny()
    options = {"learning_rate": 0.1, "ema_decay": 0.5}
    first = train(own, *digits[:2], recipe=custom("plain", **options), epochs=2)
    second = train(sgd, *digits[:2], recipe=SGD(batch_size=32, distillation=None, **options), epochs=2)
    assert state_hash(own) == state_hash(sgd)
    assert first.history == second.history


def test_arguments_reach_the_factory(digits, tiny):
    recipe = custom("plain", arguments={"scale": 3.0})
    tripled = train(tiny(), *digits[:2], recipe=recipe, epochs=1).history[0]
    assert tripled.train_loss > 2 * train(tiny(), *digits[:2], recipe=custom("plain"), epochs=1).history[0].train_loss


def test_killed_and_resumed_ends_with_the_same_bytes(digits, tiny, tmp_path):
    unbroken, resumed = tiny(), tiny()
    train(unbroken, *digits[:2], recipe=custom("plain"), epochs=3)

    train_killed(tiny(), *digits[:2], recipe=custom("plain"), epochs=3, resume_folder=tmp_path)
    assert train(resumed, *digits[:2], recipe=custom("plain"), epochs=3, resume_folder=tmp_path).resumed_from == 2
    assert state_hash(resumed) == state_hash(unbroken)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("tells_the_teacher", "fails with ValueError: teacher in training: False"),
        ("no_function", "returns a int: return a function of images and labels"),
        ("per_image", r"step of `factory` .*returns a tensor \(32,\): return the loss, a scalar"),
        ("breaks", "step of `factory` .* fails with KeyError: 'mask'"),
        ("nowhere", "cannot be imported"),
    ],
)
def test_faults_are_told(function, words, digits, tiny):
    with pytest.raises(ParameterError, match=words):
        train(tiny(), *digits[:2], recipe=custom(function), epochs=1, teacher=tiny())


def test_the_trial_asks_for_the_factory():
    with pytest.raises(ParameterError, match="recipe custom needs `factory`"):
        check_recipe(Recipe.parse("custom"), (1, 8, 8), 10)
    check_recipe(custom("plain"), (1, 8, 8), 10)


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [("takes_nothing", {}, "unexpected keyword"), ("plain", {"scales": 3}, "unexpected keyword argument 'scales'")],
)
def test_the_trial_sees_whether_the_factory_takes_what_it_is_given(function, arguments, words):
    with pytest.raises(ParameterError, match=rf"cannot be called with model, teacher, optimizer and .*{words}"):
        check_recipe(custom(function, arguments=arguments), (1, 8, 8), 10)


@pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"adaptive_clip": 0.1}, {"precision": "bfloat16"}])
def test_what_the_step_does_itself_is_refused(options):
    with pytest.raises(ValueError, match="belongs into the step"):
        custom("plain", **options)


def test_without_labels_the_dense_answers_are_the_labels():
    assert custom("plain").without_labels() == custom("plain")
    assert torch.optim.SGD is type(custom("plain").make_optimiser(torch.nn.Linear(1, 1)))
