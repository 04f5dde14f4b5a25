"""What a recipe gives in a training, held to what it promises: an error in words, and not one of torch's later.

N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from eyas.errors import ParameterError

if TYPE_CHECKING:
    from eyas.training.recipes import Recipe


def check_changed(recipe: "Recipe", name: str, changed: object, before: Tensor) -> None:
    """Augmentation keeps shape and type of images, or of their masks.

    Raises:
        ParameterError: it does not.
    """
    if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (before.shape, before.dtype):
        here = f"{tuple(changed.shape)} {changed.dtype}" if isinstance(changed, Tensor) else type(changed).__name__
        msg = f"makes {here} of {name} {tuple(before.shape)} {before.dtype}: both must be alike"
        raise ParameterError(f"recipe {recipe.kind}: its augmentation {msg}")


def check_loss(recipe: "Recipe", loss: object, logits: Tensor) -> None:
    """A loss is a scalar, which passes a gradient to the logits where these take one.

    Raises:
        ParameterError: it is something else.
    """
    if not isinstance(loss, Tensor) or loss.ndim or (logits.requires_grad and not loss.requires_grad):
        what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        msg = f"is {what} for logits {tuple(logits.shape)}: it must be a scalar tensor that passes a gradient to them"
        raise ParameterError(f"recipe {recipe.kind}: its loss {msg}")


def rate_of(recipe: "Recipe", epoch: float, epochs: int) -> float:
    """The learning rate after ``epoch`` of ``epochs`` passes.

    Raises:
        ParameterError: it is no number.
    """
    rate: object = recipe.rate(epoch, epochs)
    if not isinstance(rate, Real):
        raise ParameterError(f"recipe {recipe.kind}: its learning rate is a {type(rate).__name__}: give a number")
    return float(rate)


def optimiser_of(recipe: "Recipe", model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a training.

    Raises:
        ParameterError: it is none of ``torch.optim``'s.
    """
    make: Callable[[torch.nn.Module], object] = recipe.make_optimiser
    optimiser = make(model)
    if not isinstance(optimiser, torch.optim.Optimizer):
        what = type(optimiser).__name__
        raise ParameterError(f"recipe {recipe.kind}: its optimiser is a {what}: give one of torch.optim's kind")
    return optimiser
