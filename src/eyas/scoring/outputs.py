"""The output of a network that is judged."""

from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.errors import DataError, EyasError


def primary_output(output: Any, choice: int | str | None = None) -> Tensor:
    """The output that is judged, of a tensor, a tuple or a mapping.

    Raises:
        DataError: the network has no such output; names those there are.
    """
    selected: Any = None
    if isinstance(output, Tensor):
        if choice is None:
            return output
    elif isinstance(output, dict):
        names = [choice] if choice is not None else ["logits", "out", *output]
        selected = next((output[name] for name in names if name in output), None)
    elif isinstance(output, (tuple, list)):
        position = 0 if choice is None else choice
        if isinstance(position, int) and -len(output) <= position < len(output):
            selected = output[position]
    if not isinstance(selected, Tensor):
        msg = f"the network returns {_described(output)}, and `output` {choice!r} is no tensor there: {_remedy(output)}"
        raise DataError(msg)
    return selected


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return "one tensor"
    if isinstance(output, dict):
        return f"a dict of {', '.join(map(str, output))}"
    return f"a {type(output).__name__} of {len(output)}" if isinstance(output, (tuple, list)) else type(output).__name__


def _remedy(output: Any) -> str:
    return "leave `output` out" if isinstance(output, Tensor) else "name the one to judge"


@torch.inference_mode()
def example_output(model: nn.Module, images: Tensor, choice: int | str | None = None) -> Tensor:
    """The judged output on a few images, in eval mode.

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
    return primary_output(output, choice)
