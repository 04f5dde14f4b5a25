"""Channels-last for what has it: ``module.to(memory_format=...)`` refuses parameters of five dimensions."""

import torch
from torch import Tensor, nn


def channels_last(model: nn.Module) -> nn.Module:
    """Lay parameters and buffers of four dimensions out channels-last, in place; others stay as they are."""
    return model._apply(_channels_last)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
