"""Golden pairs: test images and what PyTorch answers to them, to be replayed on any machine.

That is probabilities, or a mask where each pixel has a class. N images, H height, W width, C channels, K classes. Each
image comes as it is stored and in another size, so that resizing is replayed as well.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from eyas.data import Dataset
from eyas.data.decoding import Preprocessing
from eyas.data.limits import UNLIMITED
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.mask_pictures import picture_of
from eyas.deploy.logit_parity import LogitParity, compare_logits
from eyas.deploy.named_outputs import outputs_of
from eyas.deploy.runtimes import LOGITS
from eyas.errors import ParityError

Pixels = NDArray[np.uint8]
GOLDEN, EXPECTED = "golden", "golden/expected.json"
PAIRS = 8
"""Golden pairs in a bundle."""
COMPARED = 32
"""Test images that bundle and PyTorch are compared on, each in two sizes."""
TOLERANCE, MIN_AGREEMENT = 0.05, 0.95
"""Largest difference of a probability from PyTorch's, and smallest share of equal answers. Nearly all of it is resizing
(:mod:`eyas.deploy.bundle.preprocessing_graph`): values that are rounded otherwise move a probability by up to 0.02, and
the answer only where two classes are that close (ResNet-20, 1,000 CIFAR-10 images in other sizes: one of them)."""
OTHER_PIXELS = 0.01
"""Share of a mask's pixels that may have another class than PyTorch's; of all of them together as well. A probability
may then be off by anything, for at an outline a value of 255 may decide (generated shapes, a U-Net: 0.009 at most, and
6 pixels of 100,000)."""
SCALES = ((1.7, 2.3), (0.6, 0.8), (3.1, 1.9), (0.9, 1.3), (1.3, 4.0))
"""Of width and height: the other sizes, in turn."""


@dataclass(frozen=True)
class GoldenPairs:
    """Images and what PyTorch answers."""

    images: Sequence[Pixels]
    """Each ``(H, W, C)``, of its own size."""
    probabilities: NDArray[np.float32]
    """``(N, K)``, or for each pixel that the network sees ``(N, K, H, W)``."""

    def write(self, folder: Path) -> None:
        """Leave some of them below ``folder`` as PNG, every second one in another size than it is stored."""
        (folder / GOLDEN).mkdir(parents=True)
        chosen = range(min(PAIRS, len(self.images)))
        for number in chosen:
            picture(self.images[number]).save(folder / GOLDEN / f"{number}.png")
        content: dict[str, Any] = {"tolerance": TOLERANCE if self.probabilities.ndim == 2 else OTHER_PIXELS}
        if self.probabilities.ndim == 2:
            rounded = [[round(float(p), 7) for p in self.probabilities[number]] for number in chosen]
            content["probabilities"] = {f"{number}.png": rounded[number] for number in chosen}
        else:
            for number in chosen:
                picture_of(self.probabilities[number].argmax(0)).save(folder / GOLDEN / f"{number}.mask.png")
            content["masks"] = {f"{number}.png": f"{number}.mask.png" for number in chosen}
        (folder / EXPECTED).write_text(json.dumps(content, indent=1) + "\n")

    def answers(self, classifier: Classifier) -> NDArray[np.float32]:
        """What the bundle gives for each image, as :attr:`probabilities`."""
        return np.stack([classifier(picture(image)) for image in self.images])

    def compare(self, classifier: Classifier) -> LogitParity:
        """What the bundle answers to all of them, against PyTorch; probabilities instead of logits.

        Raises:
            ParityError: they are too far apart.
        """
        answers = self.answers(classifier)
        parity = compare_logits(torch.from_numpy(self.probabilities), torch.from_numpy(answers))
        allowed, least, what = TOLERANCE, MIN_AGREEMENT, "top-1 agreement"
        if classifier.masks:
            allowed, least, what = 1, 1 - OTHER_PIXELS, "top-1 agreement of pixels"
        if not (parity.max_difference <= allowed and parity.agreement >= least):
            msg = (
                f"{classifier.how['model']} of the bundle answers otherwise than PyTorch to {parity.images} test "
                f"images in their own and other sizes: a probability is {parity.max_difference:.3g} off, {allowed} "
                f"is allowed; {what} is {parity.agreement:.4f}, at least {least} is needed. Leave "
                "preprocessing to predict.py (`preprocessing_in_graph`: false), or the `bundle` out"
            )
            raise ParityError(msg)
        return parity


def golden_pairs(dataset: Dataset, network: nn.Module, compared: int = COMPARED) -> GoldenPairs:
    """``compared`` test images, each as stored and in another size, and PyTorch's answers on the pipeline's pixels."""
    record = dataset.manifest.image
    prepare = Preprocessing(record.channels, record.size, record.resize, UNLIMITED)
    images: list[Pixels] = []
    for number, image_HWC in enumerate(dataset.split("test").upright(compared)):
        images += [image_HWC, _in_another_size(image_HWC, SCALES[number % len(SCALES)])]
    pixels_NCHW = np.stack([prepare(_plane(image), f"test image {number // 2}") for number, image in enumerate(images)])
    logits_NK = outputs_of(network, dataset.normalise(torch.from_numpy(pixels_NCHW)))[LOGITS]
    return GoldenPairs(images, logits_NK.softmax(1).numpy())


def picture(image_HWC: Pixels) -> Image.Image:
    """Pixels as Pillow's image; grey ones have one channel."""
    return Image.fromarray(np.ascontiguousarray(_plane(image_HWC)))


def _plane(image_HWC: Pixels) -> Pixels:
    """Grey pixels without their one channel, as Pillow wants them."""
    return image_HWC[..., 0] if image_HWC.shape[2] == 1 else image_HWC


def _in_another_size(image_HWC: Pixels, scales: tuple[float, float]) -> Pixels:
    height, width, channels = image_HWC.shape
    size = max(1, round(width * scales[0])), max(1, round(height * scales[1]))
    resized = np.asarray(picture(image_HWC).resize(size, Image.Resampling.BICUBIC))
    return resized.reshape(size[1], size[0], channels)
