"""Changes of bytes: at level 0 none, growing with the strength, by the seed, and refused where they cannot be."""

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.errors import ParameterError
from eyas.training import TensorSplit, train
from eyas.training.rand_augment import CHANGES, RandAugment
from eyas.training.recipes.sgd import SGD
from eyas.training.trial_batch import check_recipe
from tests.training.helpers import state_hash

GEOMETRIC = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def picture(channels):
    """Colours that use the whole range, with a pattern on them."""
    ramp = np.linspace(0, 255, 24)
    pixels = np.stack([np.add.outer(ramp, ramp[::-1]) / 2, np.tile(ramp, (24, 1)), np.tile(ramp[:, None], 24)], axis=2)
    pixels = (0.8 * pixels + 51 * (np.indices((24, 24)).sum(0)[:, :, None] % 2)).astype(np.uint8)
    return Image.fromarray(pixels if channels == 3 else pixels[:, :, 1])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_none_at_level_zero_and_grows(name, channels):
    image = picture(channels)
    before = np.asarray(image, dtype=float)

    def distance(level):
        changed = CHANGES[name](image, level)
        assert (changed.size, changed.mode) == (image.size, image.mode)
        return np.abs(np.asarray(changed, dtype=float) - before).mean()

    if name in {"identity", "auto_contrast", "equalize"} or (name == "colour" and channels == 1):
        return
    assert distance(0) == 0
    assert 0 < distance(0.4) <= distance(1)
    assert distance(-1) > 0


@pytest.mark.parametrize("name", sorted(GEOMETRIC))
def test_signs_are_opposite_ways(name):
    image = picture(1)
    there = np.asarray(CHANGES[name](image, 0.5))
    back = np.asarray(CHANGES[name](image, -0.5))
    assert not np.array_equal(there, back)


def test_a_translation_moves_by_a_share_of_the_edge():
    moved = np.asarray(CHANGES["translate_x"](picture(1), 1 / 0.45 / 4))  # a quarter of 24
    assert np.array_equal(moved[:, :18], np.asarray(picture(1))[:, 6:])
    assert (moved[:, 18:] == 128).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_bytes_of_the_same_shape_by_the_seed(channels):
    images = torch.randint(256, (16, channels, 12, 10), dtype=torch.uint8)
    before = images.clone()
    first, second, other = (RandAugment()(images, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    assert len({int((a != b).sum()) for a, b in zip(first, images, strict=True)}) > 4  # each image by its own draw


@pytest.mark.parametrize("images", [torch.zeros(2, 4, 8, 8, dtype=torch.uint8), torch.zeros(2, 3, 8, 8)])
def test_what_it_cannot_change_is_refused(images):
    with pytest.raises(ParameterError, match=r"`rand_augment` changes grey or colour images as bytes, not \d channels"):
        RandAugment()(images, torch.Generator())


def test_the_trial_tells_of_channels_and_masks():
    recipe = SGD(rand_augment=RandAugment())
    check_recipe(recipe, (3, 8, 8), 4)
    with pytest.raises(ParameterError, match="its augmentation `rand_augment` changes grey or colour"):
        check_recipe(recipe, (4, 8, 8), 4)
    with pytest.raises(ParameterError, match="`rand_augment` moves images and not their masks: leave it out"):
        check_recipe(recipe, (3, 8, 8), 4, (8, 8))


def test_training_reads_changed_bytes(digits, tiny):
    """Strength and number reach the loop; the same seed gives the same weights."""
    bytes_split = TensorSplit(
        ((digits[0].images * 0.3764 + 0.3053) * 255).round().to(torch.uint8), digits[0].labels,
        normalise=lambda images: (images.float() / 255 - 0.3053) / 0.3764,
    )  # fmt: skip
    hashes = set()
    for options in ({}, {"rand_augment": {}}, {"rand_augment": {}}, {"rand_augment": {"strength": 1.0}}):
        model = tiny()
        train(model, bytes_split, digits[1], recipe=SGD(batch_size=32, **options), epochs=1)
        hashes.add(state_hash(model))
    assert len(hashes) == 3
