"""Images that were only darkened are told so first, and no tint is told of them; a tint beside it still is."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from eyas.adaptation.drift import DriftReference, detect_drift
from tests.support.colour_bundle import COLOURS, photograph

COLOUR_WORDS = {"colder colours", "warmer colours", "weaker colours", "stronger colours"}


def changes(images: Tensor, change: Tensor | float) -> tuple[str, ...]:
    """Of the last 120 images, values in [0, 1], multiplied by ``change``, beside all before."""
    torch.manual_seed(0)
    channels = images.shape[1]
    layers = nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    network = nn.Sequential(*layers, nn.Linear(8, 4)).eval()
    clean, field = ((part - 0.5) / 0.25 for part in (images[:-120], images[-120:] * change))
    return detect_drift(network, field, DriftReference.of(network, clean)).changes


def photographs(*colours: str) -> Tensor:
    """360 of 24 x 24, of each colour in turn."""
    pictures = [np.array(photograph(colours[seed % len(colours)], (24, 24), seed)) for seed in range(360)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("factor", [0.8, 0.5, 0.3])
@pytest.mark.parametrize("colours", [("red",), ("blue",), ("red", "green"), tuple(COLOURS)])
def test_photographs_that_were_darkened(colours: tuple[str, ...], factor: float) -> None:
    told = changes(photographs(*colours), factor)
    assert told[0] == "darker images"
    assert not COLOUR_WORDS & set(told)


@pytest.mark.parametrize("factor", [0.8, 0.5, 0.3])
def test_digits_that_were_darkened(factor: float) -> None:
    digits = torch.from_numpy(load_digits().images[:800]).float()[:, None] / 16
    told = changes(digits, factor)
    assert told[0] == "darker images"
    assert not COLOUR_WORDS & set(told)


def test_a_tint_beside_the_darkness_is_told() -> None:
    """Of images whose channels go together, as those of photographs of many things do."""
    random = torch.Generator().manual_seed(0)
    light, colour = (torch.rand(360, channels, 3, 3, generator=random) for channels in (1, 3))
    fields = nn.functional.interpolate(0.8 * light + 0.2 * colour, size=24, mode="bilinear")
    told = changes(fields, torch.tensor([0.8, 0.6, 0.4]).view(3, 1, 1))
    assert {"darker images", "warmer colours"} <= set(told)


@pytest.mark.real_data
@pytest.mark.parametrize("factor", [0.8, 0.5, 0.2])
def test_cifar_images_that_were_darkened(real_data: Path, factor: float) -> None:
    column = pq.read_table(real_data / "cifar10_jpeg/test.parquet", columns=["img"])["img"].slice(0, 1144)
    pictures = [np.array(Image.open(io.BytesIO(image["bytes"]))) for image in column.to_pylist()]
    told = changes(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255, factor)
    assert told[0] == "darker images"
    assert not COLOUR_WORDS & set(told)
