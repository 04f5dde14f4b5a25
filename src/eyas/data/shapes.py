"""Discs, squares and triangles before textured backgrounds: a generated data set whose pixels have classes."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eyas.data.formats.masks import IMAGES, MASKS, NAMES

CLASSES = ("background", "disc", "square", "triangle")
IGNORE = 255
_RIM = 0.5  # pixels to each side of an outline that belong to no class


def write_shapes(folder: Path, *, images: int, size: int, seed: int = 0) -> None:
    """Write RGB images, masks of class numbers with ignored outlines, and the names of the classes.

    Args:
        folder: is made.
        images: how many.
        size: their height and width, at least 16.
        seed: equal seeds give equal bytes.
    """
    for name in (IMAGES, MASKS):
        (folder / name).mkdir(parents=True)
    (folder / NAMES).write_text("\n".join(CLASSES) + "\n")
    random = np.random.default_rng(seed)
    for number in range(images):
        pixels_HWC, mask_HW = _draw(random, size)
        Image.fromarray(pixels_HWC).save(folder / IMAGES / f"{number:04}.png")
        Image.fromarray(mask_HW).save(folder / MASKS / f"{number:04}.png")


def _draw(random: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Two or three shapes, one before the other; colours tell nothing of the class."""
    y_HW, x_HW = np.mgrid[:size, :size].astype(float)
    pixels_HWC, mask_HW = _texture(random, x_HW, y_HW), np.zeros((size, size), np.uint8)
    for label in random.integers(1, len(CLASSES), size=random.integers(2, 4)).tolist():
        radius = random.uniform(size / 6, size / 3)
        dx_HW, dy_HW = x_HW - random.uniform(radius, size - radius), y_HW - random.uniform(radius, size - radius)
        outside_HW = _distance(label, dx_HW, dy_HW, radius)
        inside_HW = outside_HW < 0
        pixels_HWC[inside_HW] = _texture(random, x_HW, y_HW)[inside_HW]
        mask_HW[inside_HW] = label
        mask_HW[np.abs(outside_HW) < _RIM] = IGNORE
    noise_HWC = random.normal(0, 0.04, pixels_HWC.shape)
    return np.rint(255 * np.clip(pixels_HWC + noise_HWC, 0, 1)).astype(np.uint8), mask_HW


def _texture(random: np.random.Generator, x_HW: NDArray[np.float64], y_HW: NDArray[np.float64]) -> NDArray[np.float64]:
    """A colour with stripes of a random direction and width, ``(H, W, 3)`` in [0, 1]."""
    angle, period = random.uniform(0, np.pi), random.uniform(3, 8)
    wave_HW = np.sin(2 * np.pi * (x_HW * np.cos(angle) + y_HW * np.sin(angle)) / period)
    colour: NDArray[np.float64] = random.uniform(0.15, 0.85, 3) + 0.05 * wave_HW[..., None]
    return colour


def _distance(label: int, x_HW: NDArray[np.float64], y_HW: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """How far a pixel lies outside of a shape about the origin, below 0 inside."""
    if label == 1:
        distance_HW = np.hypot(x_HW, y_HW) - radius
    elif label == 2:
        distance_HW = np.maximum(np.abs(x_HW), np.abs(y_HW)) - 0.85 * radius
    else:
        slope_HW = (2 * np.abs(x_HW) - y_HW - radius) / np.sqrt(5.0)  # two sides that meet at (0, -radius)
        distance_HW = np.maximum(slope_HW, y_HW - radius)
    return np.asarray(distance_HW, np.float64)
