"""Training on a class per pixel by recipes that know classes of images: each labelled pixel is an answer of its own.

N images, C channels, H x W pixels, K classes, M labelled pixels.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eyas.data.tasks import IGNORED

if TYPE_CHECKING:
    from eyas.training.recipes import Recipe


def augmented(
    recipe: "Recipe", images_NCHW: Tensor, labels: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images as the recipe changes them, and their labels; masks are moved as their images are."""
    if labels.ndim == 1:
        return recipe.augment(images_NCHW, generator), labels
    return recipe.augment_with_masks(images_NCHW, labels, generator)


def labelled_loss(recipe: "Recipe", logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
    """The recipe's loss, a mean over images ``(N,)`` or over the labelled pixels of ``(N, H, W)``; 0 where none is."""
    if labels.ndim == 1:
        return recipe.loss(logits, labels, teacher)
    labels_M, here_M = labels.flatten().long(), labels.flatten() != IGNORED
    if not bool(here_M.any()):
        return logits.sum() * 0
    teacher_MK = None if teacher is None else one_row_each(teacher)[here_M]
    return recipe.loss(one_row_each(logits)[here_M], labels_M[here_M], teacher_MK)


def one_row_each(logits: Tensor) -> Tensor:
    """Logits ``(N, K)``; those of each pixel of ``(N, K, ...)`` as a row of its own."""
    return logits.movedim(1, -1).flatten(0, -2)
