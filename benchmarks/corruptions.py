"""Fifteen standard corruptions of small images at severities 1 to 5 (Hendrycks & Dietterich 2019, arXiv:1903.12261).

The constants are those of CIFAR-10-C, the definitions our own in NumPy, SciPy and Pillow, over a batch at once. What
differs: frost is a drawn texture of crystals and no photograph; glass blur truly swaps its pixels; random numbers are
NumPy's generator's, seeded by the name, the severity and ``seed``. Numbers are therefore near the published ones, and
not the same.

Shapes: N images of height and width H, three channels; uint8 in, uint8 out; in between floats in [0, 1].
"""

import io
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Images = NDArray[np.float32]
Corruption = Callable[[Images, int, np.random.Generator], Images]

SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(images: NDArray[np.uint8], name: str, severity: int, seed: int = 0) -> NDArray[np.uint8]:
    """Corrupted copies of square images.

    Args:
        images: ``(N, H, H, 3)`` of uint8.
        name: one of :data:`CORRUPTIONS`.
        severity: 1 to 5.
        seed: of what is drawn; the same images come out for the same seed.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"{name} at {severity}: known are {', '.join(CORRUPTIONS)}, at {SEVERITIES}")
    generator = np.random.default_rng([seed, severity, zlib.crc32(name.encode())])
    changed = CORRUPTIONS[name](images.astype(np.float32) / 255, severity - 1, generator)
    return (changed.clip(0, 1) * 255 + 1e-3).astype(np.uint8)


def gaussian_noise(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Of the sensor in poor light."""
    return images + generator.normal(size=images.shape, scale=(0.04, 0.06, 0.08, 0.09, 0.10)[level])


def shot_noise(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Of the light itself."""
    photons = (500, 250, 100, 75, 50)[level]
    return generator.poisson(images * photons) / photons


def impulse_noise(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Salt and pepper, in each channel."""
    drawn = generator.random(images.shape) / (0.01, 0.02, 0.03, 0.05, 0.07)[level]
    return np.where(drawn < 0.5, 0, np.where(drawn < 1, 1, images))


def defocus_blur(images: Images, level: int, generator: np.random.Generator) -> Images:
    """A lens out of focus: a disk, smoothed against its edge."""
    radius, smooth = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[level]
    rows, columns = np.mgrid[-8:9, -8:9]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    bell = np.exp(-(np.arange(-1, 2) ** 2) / (2 * smooth**2))
    bell /= bell.sum()
    disk = ndimage.correlate(disk / disk.sum(), np.outer(bell, bell), mode="constant")
    return ndimage.correlate(images, disk[None, :, :, None], mode="mirror")


def glass_blur(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Frosted glass: neighbours change places."""
    sigma, reach, rounds = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))[level]
    mixed = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")
    number, size = np.arange(len(images)), images.shape[1]
    for _ in range(rounds):
        for row in range(size - reach, reach, -1):
            for column in range(size - reach, reach, -1):
                below, beside = generator.integers(-reach, reach, (2, len(images)))
                there = number, row + below, column + beside
                mixed[number, row, column], mixed[there] = mixed[there], mixed[number, row, column].copy()
    return ndimage.gaussian_filter(mixed, (0, sigma, sigma, 0), mode="nearest")


def motion_blur(images: Images, level: int, generator: np.random.Generator) -> Images:
    """A camera that moves."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[level]
    return smear(images, radius, sigma, generator.uniform(-45, 45, len(images)))


def zoom_blur(images: Images, level: int, generator: np.random.Generator) -> Images:
    """A camera that comes nearer."""
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[level], 0.01)
    return (images + sum(magnify(images, factor) for factor in factors)) / (len(factors) + 1)


def snow(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Flakes that fall, and a paler picture behind them."""
    mean, spread, size, threshold, radius, sigma, kept = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[level]
    flakes = magnify(generator.normal(mean, spread, (*images.shape[:3], 1)).astype(np.float32), size)
    flakes = smear(
        np.where(flakes < threshold, 0, flakes.clip(0, 1)), radius, sigma, generator.uniform(-135, -45, len(images))
    )
    grey = images @ np.array([0.299, 0.587, 0.114], np.float32)
    paler = kept * images + (1 - kept) * np.maximum(images, grey[..., None] * 1.5 + 0.5)
    return paler + flakes + np.rot90(flakes, 2, (1, 2))


def frost(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Ice on the lens: ridges of fractal noise in a bluish white, our own in place of the published photographs."""
    kept, ice = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[level]
    ridges = 1 - np.abs(2 * fractal(len(images), images.shape[1], 2.0, generator) - 1)
    return kept * images + ice * ridges[..., None] * np.array([0.8, 0.9, 1.0])


def fog(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Fractal fog."""
    thickness, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[level]
    brightest = images.max((1, 2, 3), keepdims=True)
    foggy = images + thickness * fractal(len(images), images.shape[1], decay, generator)[..., None]
    return foggy * brightest / (brightest + thickness)


def brightness(images: Images, level: int, generator: np.random.Generator) -> Images:
    """More of HSV's value, hue and saturation as they were."""
    value = images.max(3, keepdims=True)
    brighter = (value + (0.05, 0.1, 0.15, 0.2, 0.3)[level]).clip(0, 1)
    return np.where(value > 0, images * brighter / np.where(value > 0, value, 1), brighter)


def contrast(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Nearer to the mean of each channel."""
    means = images.mean((1, 2), keepdims=True)
    return (images - means) * (0.75, 0.5, 0.4, 0.3, 0.15)[level] + means


def elastic_transform(images: Images, level: int, generator: np.random.Generator) -> Images:
    """An affine map drawn by three points, then a smooth displacement."""
    size = images.shape[1]
    height, width, shift = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))[
        level
    ]
    centre, arm = size // 2, size // 3
    corners = np.array([[centre + arm] * 2, [centre + arm, centre - arm], [centre - arm] * 2], float)
    rows, columns = np.mgrid[:size, :size].astype(float)
    places = np.stack([columns.ravel(), rows.ravel(), np.ones(size * size)])
    changed = np.empty_like(images)
    for number, image in enumerate(images):
        moved = corners + generator.uniform(-shift * size, shift * size, corners.shape)
        back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners).T @ places  # from target to source
        turned = _sampled(image, back[1], back[0], "mirror")
        offsets = generator.uniform(-1, 1, (2, size, size))
        offsets = ndimage.gaussian_filter(offsets, (0, width * size, width * size), truncate=3) * height * size
        changed[number] = _sampled(turned, (rows + offsets[0]).ravel(), (columns + offsets[1]).ravel(), "reflect")
    return changed


def pixelate(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Fewer pixels."""
    size = images.shape[1]
    smaller = int(size * (0.95, 0.9, 0.85, 0.75, 0.65)[level])

    def coarse(image: Image.Image) -> Image.Image:
        return image.resize((smaller, smaller), Image.Resampling.BOX).resize((size, size), Image.Resampling.BOX)

    return _each(images, coarse)


def jpeg_compression(images: Images, level: int, generator: np.random.Generator) -> Images:
    """Saved with little quality."""

    def compressed(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=(80, 65, 58, 50, 40)[level])
        return Image.open(file)

    return _each(images, compressed)


def smear(images: Images, radius: float, sigma: float, angles: NDArray[np.float64]) -> Images:
    """Each image along its angle in degrees, by half a Gaussian, as ImageMagick blurs motion; edges are repeated."""
    steps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    size, margin = images.shape[1], len(steps)
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="edge")
    smeared = np.zeros_like(images)
    for number, angle in enumerate(np.deg2rad(angles)):
        down, right = np.ceil(np.outer([np.sin(angle), np.cos(angle)], steps) - 0.5).astype(int) + margin
        for weight, top, left in zip(weights, down, right, strict=True):
            smeared[number] += weight * padded[number, top : top + size, left : left + size]
    return smeared


def magnify(images: Images, factor: float) -> Images:
    """The middle of each image, as large as the image."""
    size = images.shape[1]
    kept = int(np.ceil(size / factor))
    top = (size - kept) // 2
    larger = ndimage.zoom(images[:, top : top + kept, top : top + kept], (1, factor, factor, 1), order=1)
    trim = (larger.shape[1] - size) // 2
    return larger[:, trim : trim + size, trim : trim + size]


def fractal(count: int, size: int, decay: float, generator: np.random.Generator) -> Images:
    """Height maps ``(count, size, size)`` in [0, 1] by the diamond-square algorithm; size is a power of two."""
    heights, step, wobble = np.zeros((count, size, size)), size, 100.0

    def noisy(total: NDArray[np.float64]) -> NDArray[np.float64]:
        return total / 4 + wobble * generator.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        sides = corners + np.roll(corners, -1, 1)
        heights[:, half::step, half::step] = noisy(sides + np.roll(sides, -1, 2))
        middles = heights[:, half::step, half::step]
        upright, flat = middles + np.roll(middles, 1, 1), middles + np.roll(middles, 1, 2)
        heights[:, ::step, half::step] = noisy(upright + corners + np.roll(corners, -1, 2))
        heights[:, half::step, ::step] = noisy(flat + corners + np.roll(corners, -1, 1))
        step, wobble = half, wobble / decay
    heights -= heights.min((1, 2), keepdims=True)
    return (heights / heights.max((1, 2), keepdims=True)).astype(np.float32)


def _sampled(image: Images, rows: NDArray[np.float64], columns: NDArray[np.float64], mode: str) -> Images:
    """One image ``(H, H, 3)`` read at ``H * H`` places."""
    channels = [
        ndimage.map_coordinates(channel, (rows, columns), order=1, mode=mode) for channel in image.transpose(2, 0, 1)
    ]
    return np.stack(channels, -1).reshape(image.shape)


def _each(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    pictures = (Image.fromarray(image) for image in np.rint(images * 255).astype(np.uint8))
    return np.stack([np.asarray(change(picture)) for picture in pictures]).astype(np.float32) / 255


CORRUPTIONS: dict[str, Corruption] = {
    corruption.__name__: corruption
    for corruption in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        frost,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
"""By the published names."""
