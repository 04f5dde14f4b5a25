"""``benchmarks/corruptions.py``: what is computed another way, seeds, and corruptions that grow."""

import colorsys
import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.corruptions import CORRUPTIONS, corrupt, fractal, magnify, smear


@pytest.fixture(scope="module")
def images():
    """Sixteen smooth pictures with edges, (16, 32, 32, 3)."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (16, 4, 4, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)) for image in coarse])


def distance(one, other):
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_stay_images_and_the_same_seed_gives_the_same(name, images):
    before = images.copy()
    changed = [corrupt(images, name, severity) for severity in (1, 3, 5)]
    assert all(image.dtype == np.uint8 and image.shape == images.shape for image in changed)
    assert np.array_equal(images, before)
    assert np.array_equal(changed[1], corrupt(images, name, 3))
    assert distance(images, changed[0]) > 0
    if name != "elastic_transform":  # its affine map shrinks where its displacement grows
        assert distance(images, changed[0]) < distance(images, changed[2])


def test_another_seed_draws_another_noise(images):
    assert not np.array_equal(corrupt(images, "gaussian_noise", 3), corrupt(images, "gaussian_noise", 3, seed=1))


def test_there_are_fifteen_and_others_are_refused(images):
    assert len(CORRUPTIONS) == 15
    for name, severity in (("dust", 1), ("fog", 6)):
        with pytest.raises(ValueError, match="known are"):
            corrupt(images, name, severity)


def test_contrast_and_brightness_are_those_of_the_formulas(images):
    pixels = images / 255
    means = pixels.mean((1, 2), keepdims=True)
    expected = ((pixels - means) * 0.15 + means) * 255
    assert np.abs(corrupt(images, "contrast", 5) - expected).max() <= 1
    hue, saturation, value = colorsys.rgb_to_hsv(*pixels[3, 5, 7])
    expected = np.array(colorsys.hsv_to_rgb(hue, saturation, min(value + 0.1, 1))) * 255
    assert np.abs(corrupt(images, "brightness", 2)[3, 5, 7] - expected).max() <= 1


def test_noise_is_as_strong_as_published():
    grey = np.full((8, 32, 32, 3), 128, np.uint8)
    assert corrupt(grey, "gaussian_noise", 1).std() / 255 == pytest.approx(0.04, rel=0.05)
    assert corrupt(grey, "shot_noise", 5).std() / 255 == pytest.approx((128 / 255 / 50) ** 0.5, rel=0.05)
    assert np.isin(corrupt(grey, "impulse_noise", 5), [0, 255]).mean() == pytest.approx(0.07, rel=0.2)


def test_blurs_keep_the_sum_of_a_point():
    point = np.zeros((2, 32, 32, 3), np.float32)
    point[:, 16, 16] = 1
    blurred = smear(point, 6, 2, np.array([0.0, 90.0]))
    assert blurred.sum((1, 2)) == pytest.approx(1, abs=1e-5)
    assert (blurred[0, 16] > 0).any(-1).sum() == 13  # along the row
    assert (blurred[1, :, 16] > 0).any(-1).sum() == 13  # along the column
    assert np.abs(magnify(point, 1.0) - point).max() == 0


def test_compression_and_pixels_are_those_of_pillow(images):
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, "JPEG", quality=40)
    assert np.array_equal(corrupt(images, "jpeg_compression", 5)[0], np.asarray(Image.open(file)))
    small = Image.fromarray(images[0]).resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    assert np.array_equal(corrupt(images, "pixelate", 5)[0], np.asarray(small))


def test_fractals_fill_the_range():
    heights = fractal(3, 32, 2.0, np.random.default_rng(0))
    assert heights.shape == (3, 32, 32)
    assert heights.min((1, 2)) == pytest.approx(0)
    assert heights.max((1, 2)) == pytest.approx(1)


def test_elastic_without_displacement_is_an_affine_map_that_keeps_a_flat_picture(images):
    flat = np.full((2, 32, 32, 3), 77, np.uint8)
    assert np.abs(corrupt(flat, "elastic_transform", 1).astype(int) - 77).max() <= 1
