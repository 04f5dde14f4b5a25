"""A recipe on a small random batch before the first real one: does it change images and measure a loss as it must.

N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from eyas.errors import ParameterError, one_line
from eyas.training.labelled_pixels import augmented, labelled_loss
from eyas.training.recipes import Recipe

_IMAGES = 4


def check_recipe(
    recipe: Recipe | str | Mapping[str, Any],
    image_shape: tuple[int, int, int],
    num_classes: int,
    answer_shape: tuple[int, ...] = (),
) -> None:
    """Refuse a recipe whose augmentation or loss fails, or returns something else than it must.

    Torch's generators stay as they are.

    Args:
        recipe: the functions that it names are called.
        image_shape: (C, H, W).
        num_classes: K.
        answer_shape: of an image's classes: none, or (H, W).

    Raises:
        ParameterError: says what it did.
    """
    recipe = Recipe.parse(recipe)
    recipe.check()
    with torch.random.fork_rng([]):
        generator = torch.Generator().manual_seed(0)
        images_NCHW = torch.randn(_IMAGES, *image_shape, generator=generator)
        labels = torch.randint(num_classes, (_IMAGES, *answer_shape), generator=generator)
        labels = labels.to(torch.uint8) if answer_shape else labels
        logits = torch.randn(_IMAGES, num_classes, *answer_shape, generator=generator).requires_grad_()
        teacher = logits.detach().flip(0) if recipe.wants_teacher else None
        with _telling(f"recipe {recipe.kind}: its augmentation"):
            recipe.augment_stored(torch.zeros(_IMAGES, *image_shape, dtype=torch.uint8), generator)
            _check_images(*augmented(recipe, images_NCHW, labels, generator), images_NCHW, labels)
        if type(recipe).loss is Recipe.loss:  # it takes its own steps
            return
        with _telling(f"recipe {recipe.kind}: its loss"):
            _check_loss(labelled_loss(recipe, logits, labels, teacher), logits)


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except ParameterError as error:
        raise ParameterError(f"{what} {error}") from error
    except Exception as error:
        raise ParameterError(f"{what} fails with {type(error).__name__}: {one_line(error)}") from error


def _check_images(changed: object, moved: object, images_NCHW: Tensor, labels: Tensor) -> None:
    for name, now, before in (("images", changed, images_NCHW), ("masks", moved, labels)):
        here = f"{tuple(now.shape)} {now.dtype}" if isinstance(now, Tensor) else type(now).__name__
        if here != f"{tuple(before.shape)} {before.dtype}":
            msg = f"makes {here} of {name} {tuple(before.shape)} {before.dtype}: both must be alike"
            raise ParameterError(msg)


def _check_loss(loss: object, logits: Tensor) -> None:
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        msg = f"is {what} for logits {tuple(logits.shape)}: it must be a scalar tensor that passes a gradient to them"
        raise ParameterError(msg)
    loss.backward()  # type: ignore[no-untyped-call]
