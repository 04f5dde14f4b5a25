"""A recipe on a small random batch before the first real one: does it change images and measure a loss as it must.

N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from eyas.errors import ParameterError, one_line
from eyas.training.labelled_pixels import augmented, labelled_loss
from eyas.training.recipe_results import check_changed, check_loss
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
            changed, moved = augmented(recipe, images_NCHW, labels, generator)
        check_changed(recipe, "images", changed, images_NCHW)
        check_changed(recipe, "masks", moved, labels)
        if type(recipe).loss is Recipe.loss:  # it takes its own steps
            return
        with _telling(f"recipe {recipe.kind}: its loss"):
            loss = labelled_loss(recipe, logits, labels, teacher)
        check_loss(recipe, loss, logits)
        with _telling(f"recipe {recipe.kind}: its loss"):
            loss.backward()  # type: ignore[no-untyped-call]


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except ParameterError as error:
        raise ParameterError(f"{what} {error}") from error
    except Exception as error:
        raise ParameterError(f"{what} fails with {type(error).__name__}: {one_line(error)}") from error
