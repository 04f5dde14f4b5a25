"""Losses and augmentations by reference: what they compute, and what is told of them before training."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy

from eyas.errors import ParameterError
from eyas.training import train
from eyas.training.recipes import Recipe
from eyas.training.recipes.sgd import SGD, Distillation
from eyas.training.trial_batch import check_recipe
from tests.training.helpers import state_hash

HERE = __name__
IMAGES = (1, 8, 8)


def twice(logits, labels):
    return 2 * cross_entropy(logits, labels)


def once(logits, labels):
    return cross_entropy(logits, labels)


def per_image(logits, labels):
    return cross_entropy(logits, labels, reduction="none")


def without_gradient(logits, labels):
    return cross_entropy(logits.detach(), labels)


def broken(logits, labels):
    raise KeyError("weights")


def flip(images, generator):
    return images.flip(-1) if torch.rand((), generator=generator) < 2 else images


def flip_both(images, masks, generator):
    return images.flip(-1), masks.flip(-1)


def crop(images, generator):
    return images[..., 1:]


def doubles(images, generator):
    return images.double()


def test_a_loss_stands_where_cross_entropy_stood():
    logits, labels, teacher = torch.randn(5, 3), torch.arange(5) % 3, torch.randn(5, 3)
    plain, own = SGD(), SGD(loss=f"{HERE}:twice")
    assert own.loss(logits, labels, None) == 2 * plain.loss(logits, labels, None)
    soft = Distillation()(logits, teacher)
    expected = 0.9 * soft + 0.1 * 2 * cross_entropy(logits, labels)
    assert own.loss(logits, labels, teacher) == pytest.approx(float(expected))
    assert Recipe.parse(own.model_dump(mode="json", by_alias=True)) == own == SGD(loss_function=f"{HERE}:twice")


def test_the_same_loss_by_reference_trains_to_the_same_bytes(tiny, digits):
    hashes = []
    for options in ({}, {"loss": f"{HERE}:once"}, {"loss": "torch.nn.functional:cross_entropy"}):
        model = tiny()
        train(model, *digits[:2], recipe=SGD(batch_size=64, distillation=None, **options), epochs=1)
        hashes.append(state_hash(model))
    assert len(set(hashes)) == 1


def test_an_augmentation_changes_images_and_masks():
    images, masks = torch.randn(2, *IMAGES), torch.randint(3, (2, 8, 8)).to(torch.uint8)
    assert torch.equal(SGD(augmentation=f"{HERE}:flip").augment(images, torch.Generator()), images.flip(-1))
    both = SGD(augmentation=f"{HERE}:flip_both").augment_with_masks(images, masks, torch.Generator())
    assert all(map(torch.equal, both, (images.flip(-1), masks.flip(-1))))


@pytest.mark.parametrize("answer", [(), (8, 8)])
def test_what_is_right_passes_and_draws_nothing(answer):
    name = "flip_both" if answer else "flip"
    state = torch.random.get_rng_state()
    for options in ({}, {"augmentation": f"{HERE}:{name}", "loss": f"{HERE}:twice"}, {"distillation": None}):
        check_recipe(SGD(**options), IMAGES, 3, answer)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"loss": "broken"}, "recipe sgd: its loss fails with KeyError: 'weights'"),
        ({"loss": "per_image"}, r"its loss is a tensor \(4,\) for logits \(4, 3\): it must be a scalar tensor"),
        ({"loss": "without_gradient"}, "it must be a scalar tensor that passes a gradient to them"),
        ({"loss": "nothing"}, "test_trial_batch:nothing cannot be imported"),
        ({"loss": "HERE"}, "test_trial_batch:HERE is a str: name a function or a class"),
        ({"augmentation": "crop"}, r"makes \(4, 1, 8, 7\) torch.float32 of images \(4, 1, 8, 8\) torch.float32"),
        ({"augmentation": "doubles"}, "torch.float64 of images"),
        ({"augmentation": "flip_both"}, "its augmentation fails with TypeError"),
    ],
)
def test_what_is_wrong_is_told(options, words):
    options = {name: f"{HERE}:{function}" for name, function in options.items()}
    with pytest.raises(ParameterError, match=words):
        check_recipe(SGD(**options, distillation=None), IMAGES, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augmentation": "shfit"}, r"'shfit' is not known \(did you mean 'shift'\?\): give auto, none"),
        ({"loss": "focal"}, "name a function as package.module:function"),
        ({"loss": "a:b", "label_smoothing": 0.1}, "label_smoothing is of cross-entropy"),
        ({"loss": "a:b", "distillation": {"alpha": 1}}, "distillation.alpha 1 leaves the loss no weight"),
    ],
)
def test_names_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        SGD(**options)
