"""The first word that is told of a corruption is the right one, where it can be told."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

import models
from benchmarks.corruptions import CORRUPTIONS, corrupt
from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.data.decoding import Preprocessing
from eyas.networks.checkpoint import load_checkpoint

FIRST = {
    **dict.fromkeys(("gaussian_noise", "shot_noise", "impulse_noise"), "more noise"),
    **dict.fromkeys(("defocus_blur", "motion_blur", "zoom_blur", "elastic_transform"), "blur"),
    "glass_blur": "more noise",  # its pixels change places, which is noise to the eye as well
    "snow": "more noise",  # flakes; that they are bright comes second
    **dict.fromkeys(("frost", "brightness"), "brighter images"),
    **dict.fromkeys(("fog", "contrast"), "less contrast"),
    "pixelate": "coarser pixels",
    "jpeg_compression": "stronger compression (8 x 8 blocks)",
}
COLDER, WARMER = "colder colours", "warmer colours"


@pytest.mark.real_data
@pytest.mark.parametrize("severity", [3, 5])
def test_the_fifteen_corruptions(real_data, severity: int) -> None:
    rows = pq.read_table(real_data / "cifar10_jpeg" / "test.parquet").slice(0, 1024)
    read = Preprocessing(3, 32)
    pixels = np.stack([read(one["bytes"], "image") for one in rows["img"].to_pylist()])
    images, labels = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)), torch.tensor(rows["label"].to_pylist())
    network = models.build("resnet20", 10)
    load_checkpoint(network, real_data / "weights" / "resnet20-12fca82f.th")
    network.eval()
    reference = DriftReference.of(network, normalised(images[:512]), labels[:512])
    told = {
        name: detect_drift(network, normalised(corrupt(images[512:], name, severity)), reference).changes
        for name in CORRUPTIONS
    }
    right = FIRST | ({"jpeg_compression": "more noise"} if severity == 3 else {})  # no blocks are seen yet
    assert {name: words[0] for name, words in told.items()} == right
    tinted = {name for name, words in told.items() if {COLDER, WARMER} & set(words)}
    assert tinted <= {"frost"}  # whose crystals are blue


def normalised(images_NHWC: np.ndarray) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (torch.from_numpy(images_NHWC).permute(0, 3, 1, 2) / 255 - mean) / std


class RoughIsBlue(nn.Module):
    """Takes every rough image for the class whose clean images are blue, the others for the red one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: Tensor) -> Tensor:
        rough = (images[..., 1:] - images[..., :-1]).abs().mean((1, 2, 3)) - 0.3
        return torch.stack([-rough, rough], 1) * 20 + 0 * self.norm(images).mean((1, 2, 3))[:, None]


def test_noise_that_leads_to_other_classes_is_told_without_their_colour() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        """Smooth red ones and rough blue ones in turn."""
        images = 0.02 * torch.randn(count, 3, 16, 16, generator=random)
        colour = torch.randn(count, 1, 1, generator=random) * 0.1 + 1
        images[::2, 0] += colour[::2]
        images[1::2, 2] += colour[1::2]
        images[1::2] += 0.5 * torch.randn(images[1::2].shape, generator=random)
        return images

    network = RoughIsBlue().eval()
    reference = DriftReference.of(network, draw(400))
    noisy = draw(200) + torch.randn(200, 3, 16, 16, generator=random)
    report = detect_drift(network, noisy, reference)
    assert max(report.balance.predicted) == 1.0, "every noisy image is taken for a blue one"
    assert next(one for one in report.numbers if one.name == "tint").drifted
    assert not {COLDER, WARMER} & set(report.changes)
