"""A bundle that is made in a moment: photographs of one colour each, and a network that sees which."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from eyas.data import Dataset, open_dataset
from eyas.data.decoding import Preprocessing
from eyas.data.make_dataset import DatasetOptions, make_dataset
from eyas.deploy.bn_statistics import write_statistics
from eyas.deploy.bundle.contents import BUNDLE
from eyas.deploy.bundle.label_free_rule import LIMITS
from eyas.deploy.bundle.make_bundle import DeviceAdaptation, make_bundle
from eyas.deploy.exporters import Exporter
from eyas.deploy.exporters.onnx import Onnx
from eyas.deploy.logit_parity import LogitParity

COLOURS = {"blue": (0.1, 0.3, 0.9), "green": (0.2, 0.8, 0.1), "red": (0.9, 0.2, 0.2)}
SIZE, MEAN, STD = 16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CLEAN = (100, 100, 100)
"""Answers of each class to clean images, as a bundle that may be adapted tells them."""
MEANS, STDS = {1: MEAN[:1], 3: MEAN, 4: (*MEAN, 0.5)}, {1: STD[:1], 3: STD, 4: (*STD, 0.3)}


def photograph(colour: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """A noisy picture of (width, height) of one colour."""
    noise = np.random.default_rng(seed).uniform(0.3, 1.0, (size[1], size[0], 1))
    return Image.fromarray((255 * noise * np.array(COLOURS[colour])).astype(np.uint8))


def colour_dataset(folder: Path, resize: int | None, channels: int = 3) -> Dataset:
    """JPEG files of many sizes; PNGs whose transparency varies where that is a channel."""
    rng = np.random.default_rng(1)
    for label in COLOURS:
        place = folder / "files/train" / label
        place.mkdir(parents=True)
        for number in range(24):
            width, height = (int(edge) for edge in rng.integers(10, 60, 2))
            image = photograph(label, (width, height), number)
            if channels == 4:
                image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), np.uint8)))
            image.save(place / f"{number}.{'png' if channels == 4 else 'jpg'}")
    mean, std = MEANS[channels], STDS[channels]
    prepared = Preprocessing(channels, SIZE, resize)
    make_dataset(folder, DatasetOptions(prepared, mean, std, 0.2, 0.2, 0.4), {"train": "/home/someone/colours"})
    return open_dataset(folder)


def colour_network(channels: int = 3) -> nn.Module:
    """Reads the mean of every channel: blue, green or red; with one channel, how bright."""
    layers = nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)
    network = nn.Sequential(*layers).eval()
    with torch.no_grad():
        network[3].weight.copy_(torch.eye(3).flip(0).repeat(1, 2)[:, :channels] * 2)
        network[3].bias.zero_()
    return network


@dataclass(frozen=True)
class Made:
    """A bundle and what it was made of."""

    export: Path
    dataset: Dataset
    parity: LogitParity

    @property
    def folder(self) -> Path:
        return self.export / BUNDLE


def make_colours(
    place: Path, *, in_graph: bool = True, resize: int | None = None, channels: int = 3, adaptable: bool = False
) -> Made:
    """Make it below ``place``."""
    dataset, network = colour_dataset(place / "fetch", resize, channels), colour_network(channels)
    return make(place / "export", dataset, network, in_graph=in_graph, adaptable=adaptable)


def make(export: Path, dataset: Dataset, network: nn.Module, *, in_graph: bool, adaptable: bool = False) -> Made:
    """Make the bundle of a network in the folder ``export``."""
    (export / "formats").mkdir(parents=True)
    (export / BUNDLE).mkdir()
    Exporter.parse("onnx")(network, torch.zeros(2, *dataset.image_shape), export / "model.onnx")
    write_statistics(network, 100, export / "bn_statistics.safetensors")
    adaptation = DeviceAdaptation(Onnx(), LIMITS, CLEAN) if adaptable else None
    options = {"in_graph": in_graph, "licence": "CC0-1.0", "adaptable": adaptation}
    parity = make_bundle(export, export / BUNDLE, dataset, network, card=lambda _: "# colours\n", **options)
    return Made(export, dataset, parity)
