"""The judged output of a network on a few images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.errors import DataError, EyasError
from eyas.pruning.output_paths import primary_output


@torch.inference_mode()
def example_output(
    model: nn.Module,
    images: Tensor,
    choice: int | str | None = None,
    select: Callable[[Any, int | str | None], Tensor] = primary_output,
) -> Tensor:
    """The judged output on a few images, in eval mode.

    Args:
        model: the network.
        images: a few.
        choice: which output is judged where there are several.
        select: makes one tensor of whatever the network returns.

    Raises:
        DataError: the network does not take such images, or has no such output.
        EyasError: the device's memory does not hold them.
    """
    try:
        with evaluation_mode(model):
            output = model(images)
    except torch.OutOfMemoryError as error:
        msg = f"the device's memory does not hold {type(model).__name__} and {len(images)} images: {error}"
        raise EyasError(msg) from error
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        msg = (
            f"{type(model).__name__} fails on {len(images)} scoring images of shape {tuple(images.shape[1:])} "
            f"({type(error).__name__}: {error}); give images as it was traced with, channels first: (C, H, W); a "
            "network of several inputs cannot be scored: wrap it in one that takes the images alone"
        )
        raise DataError(msg) from error
    return select(output, choice)
