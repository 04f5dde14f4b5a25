"""Batch-norm in eval mode as a part of the convolution before it."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvTransposeNd


def folded_weights(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that computes what both layers do in eval mode; gradients reach both."""
    scale_C = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale_C = scale_C * norm.weight
    shift_C = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias_C = scale_C * shift_C if norm.bias is None else norm.bias + scale_C * shift_C
    channel = 1 if isinstance(conv, _ConvTransposeNd) else 0
    shape = [-1 if dim == channel else 1 for dim in range(conv.weight.ndim)]
    return conv.weight * scale_C.view(shape), bias_C
