"""Channels-last for what has it: ``module.to(memory_format=...)`` refuses parameters of five dimensions."""

import torch
from torch import nn


def channels_last(model: nn.Module) -> nn.Module:
    """Lay parameters and buffers of four dimensions out channels-last, in place; others stay as they are."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            # not contiguous(): that leaves a single channel's strides as they are, and kernels are chosen by strides
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return model
