"""RandAugment: a few of fourteen changes of an image, drawn at random and of one strength.

N images, C channels, H x W pixels. The changes are Pillow's, on bytes, image by image on the CPU.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from pydantic import Field

from eyas.component import Options
from eyas.errors import ParameterError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_GREY = 128
Change = Callable[[Image.Image, float], Image.Image]
"""By a level from -1 to 1."""


def _affine(a: float, b: float, d: float, e: float) -> Change:
    """Sheared by shares ``a`` (x) and ``d`` (y), shifted by shares ``b`` and ``e`` of the edges."""

    def change(image: Image.Image, level: float) -> Image.Image:
        matrix = (1, a * level, b * level * image.width, d * level, 1, e * level * image.height)
        return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_fill(image))

    return change


def _fill(image: Image.Image) -> int | tuple[int, ...]:
    return (_GREY,) * 3 if image.mode == "RGB" else _GREY


CHANGES: dict[str, Change] = {
    "identity": lambda image, _: image,
    "auto_contrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "rotate": lambda image, level: image.rotate(30 * level, fillcolor=_fill(image)),
    "solarize": lambda image, level: ImageOps.solarize(image, round(256 * (1 - abs(level)))),
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
    "colour": lambda image, level: ImageEnhance.Color(image).enhance(1 + 0.9 * level),
    "contrast": lambda image, level: ImageEnhance.Contrast(image).enhance(1 + 0.9 * level),
    "brightness": lambda image, level: ImageEnhance.Brightness(image).enhance(1 + 0.9 * level),
    "sharpness": lambda image, level: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * level),
    "shear_x": _affine(0.3, 0, 0, 0),
    "shear_y": _affine(0, 0, 0.3, 0),
    "translate_x": _affine(0, 0.45, 0, 0),
    "translate_y": _affine(0, 0, 0, 0.45),
}
"""Table 6 of AutoAugment (arXiv:1805.09501) without its inversion and cut-out; at level 0 nothing changes but by
``auto_contrast`` and ``equalize``."""


class RandAugment(Options):
    """Cubuk et al. 2020 (arXiv:1909.13719)."""

    operations: Annotated[int, Field(ge=1, le=8)] = 2
    """How many of the fourteen changes every image gets, one after the other."""
    strength: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the largest change of each; 0.3 is 9 of 30."""

    def __call__(self, images_NCHW: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Changed bytes ``(N, C, H, W)``, on the same device.

        Raises:
            ParameterError: these are no bytes, or neither grey nor colour.
        """
        import torch

        num, channels = images_NCHW.shape[:2]
        if images_NCHW.dtype != torch.uint8 or channels not in {1, 3}:
            what = f"{channels} channels of {str(images_NCHW.dtype).removeprefix('torch.')}"
            raise ParameterError(f"`rand_augment` changes grey or colour images as bytes, not {what}: leave it out")
        chosen_NM = torch.randint(len(CHANGES), (num, self.operations), generator=generator).tolist()
        signs_NM = (torch.randint(2, (num, self.operations), generator=generator) * 2 - 1).tolist()
        changes, changed = list(CHANGES.values()), []
        for pixels, numbers, signs in zip(images_NCHW.cpu().numpy(), chosen_NM, signs_NM, strict=True):
            image = Image.fromarray(pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))
            for number, sign in zip(numbers, signs, strict=True):
                image = changes[number](image, sign * self.strength)
            changed.append(np.asarray(image).reshape(*pixels.shape[1:], channels).transpose(2, 0, 1))
        return torch.from_numpy(np.stack(changed)).to(images_NCHW.device)
