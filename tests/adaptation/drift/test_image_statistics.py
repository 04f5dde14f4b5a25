"""Each statistic answers to its own change, and leaves those of the others alone."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from eyas.adaptation.drift.drift_words import name_changes
from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS, noise, saturation, tint


def measured(images: Tensor) -> dict[str, float]:
    return {name: float(statistic(images).mean()) for name, statistic in IMAGE_STATISTICS.items()}


@pytest.fixture
def images(draw) -> Tensor:
    return draw(64, 3)[0]


@pytest.mark.parametrize("name", IMAGE_STATISTICS)
def test_one_finite_number_per_image_whatever_stands_beside_it(name: str, images: Tensor) -> None:
    whole = IMAGE_STATISTICS[name](images)
    assert whole.shape == (64,)
    assert bool(whole.isfinite().all())
    torch.testing.assert_close(torch.cat([IMAGE_STATISTICS[name](one[None]) for one in images]), whole)
    flat = IMAGE_STATISTICS[name](torch.zeros(2, 1, 4, 4))
    assert bool(flat.isfinite().all())


def test_brightness_and_contrast_move_only_with_their_own(images: Tensor) -> None:
    before, brighter, flatter = measured(images), measured(images + 1), measured(images / 2)
    assert brighter["brightness"] == pytest.approx(before["brightness"] + 1, abs=1e-5)
    assert flatter["contrast"] == pytest.approx(before["contrast"] / 2, rel=1e-4)
    for name in ("contrast", "saturation", "sharpness", "noise", "blockiness"):
        assert brighter[name] == pytest.approx(before[name], rel=1e-3, abs=1e-5)
    assert flatter["sharpness"] == pytest.approx(before["sharpness"], rel=1e-3)
    assert flatter["blockiness"] == pytest.approx(before["blockiness"], abs=1e-3)


def test_noise_is_that_of_the_pixels_where_there_is_nothing_else() -> None:
    flat = 0.3 * torch.randn(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert noise(flat).tolist() == pytest.approx([0.3 * 0.6745] * 4, rel=0.05)  # the median of a half-normal


def test_blur_lowers_sharpness_and_noise_raises_it(images: Tensor, blur) -> None:
    noisy = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert measured(blur(images))["sharpness"] < measured(images)["sharpness"] < measured(noisy)["sharpness"]
    assert measured(torch.rand(8, 1, 64, 64))["sharpness"] == pytest.approx(1, rel=0.02)


def test_jpeg_raises_blockiness(draw) -> None:
    images = (draw(32, 4)[0].clamp(-3, 3) / 6 + 0.5).mul(255).to(torch.uint8)

    def compressed(quality: int) -> Tensor:
        decoded = []
        for image_HWC in images.permute(0, 2, 3, 1).numpy():
            file = io.BytesIO()
            Image.fromarray(image_HWC).save(file, "JPEG", quality=quality)
            decoded.append(np.asarray(Image.open(file)))
        return torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2) / 255

    assert measured(compressed(8))["blockiness"] > measured(compressed(95))["blockiness"] + 0.3


def test_grey_images_have_no_colour() -> None:
    grey = torch.rand(4, 1, 8, 8)
    assert tint(grey).tolist() == [0] * 4
    assert saturation(grey.expand(-1, 3, -1, -1)).tolist() == pytest.approx([0] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        ({"noise": 3.0, "sharpness": 2.0}, ("more noise",)),
        ({"sharpness": -3.0, "noise": -1.0}, ("blur",)),
        ({"blockiness": 2.0, "sharpness": -1.0, "noise": -1.2}, ("stronger compression (8 x 8 blocks)",)),
        ({"contrast": -1.0, "noise": -0.9, "saturation": -0.5}, ("less contrast",)),
        ({"contrast": 1.0, "noise": 1.2}, ("more contrast",)),
        ({"contrast": 1.0, "noise": 1.2, "sharpness": 2.73}, ("sharper edges", "more contrast")),
        ({"noise": 1.2, "sharpness": 2.73}, ("more noise",)),
        ({"brightness": 1.0, "contrast": -2.0}, ("less contrast", "brighter images")),
        ({"tint": -1.0}, ("colder colours",)),
        # CIFAR-10 times 0.4, times (1, 0.85, 0.7), times (0.7, 0.55, 0.4), as grey, times (0.6, 0.8, 1)
        ({"brightness": -2.4, "contrast": -1.8, "saturation": -0.7, "tint": -0.3}, ("darker images", "less contrast")),
        ({"brightness": -0.54, "tint": 1.03}, ("warmer colours", "darker images")),
        ({"brightness": -1.7, "contrast": -1.2, "tint": 0.92}, ("darker images", "less contrast", "warmer colours")),
        ({"saturation": -0.66, "tint": -0.29}, ("weaker colours",)),
        ({"brightness": -0.83, "saturation": 1.2, "tint": -1.4}, ("colder colours", "darker images")),
        ({"brightness": -1.0, "contrast": -1.8}, ("darker images", "less contrast")),
        ({"brightness": -1.0, "contrast": -2.2}, ("less contrast", "darker images")),
        ({"brightness": 1.0, "tint": 0.3}, ("brighter images", "warmer colours")),
        ({"brightness": 1.8, "saturation": 0.7}, ("brighter images",)),
        ({"brightness": 1.0, "saturation": 0.7}, ("brighter images", "stronger colours")),
        # CIFAR-10 in fog, out of focus, in fewer pixels, as JPEG
        ({"contrast": -0.74, "saturation": -0.72, "sharpness": -0.91, "noise": -0.43}, ("less contrast", "blur")),
        ({"contrast": -0.4, "sharpness": -2.5, "noise": -1.4}, ("blur", "less contrast")),
        ({"sharpness": -0.89, "blockiness": -2.13}, ("coarser pixels",)),
        ({"sharpness": -1.22, "noise": 0.47, "blockiness": 0.59}, ("coarser pixels",)),
        ({"sharpness": -1.48, "noise": -0.83, "blockiness": -0.54}, ("blur",)),
        ({"sharpness": -0.77, "noise": -0.92, "blockiness": 1.03}, ("stronger compression (8 x 8 blocks)",)),
        ({"sharpness": -0.2, "blockiness": 1.03}, ("stronger compression (8 x 8 blocks)",)),
        ({}, ()),
    ],
)
def test_what_follows_from_a_change_is_not_told_as_another(effects: dict[str, float], words: tuple[str, ...]) -> None:
    assert name_changes(effects) == words
