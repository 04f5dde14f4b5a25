"""The engine's own copy of the network, on its device."""

import torch
from torch import Tensor, nn

from eyas.pruning.surgery import rebuild


def on_device(model: nn.Module, device: str) -> nn.Module:
    """A copy of the network on ``device``, in eval mode; the original is untouched."""
    copied = rebuild(model, lambda tensor: _moved(tensor, device))
    for module in copied.modules():
        module.training = False
    return copied


def _moved(tensor: Tensor, device: str) -> Tensor:
    """A copy with memory of its own."""
    moved = tensor.detach().to(device, copy=True)
    return nn.Parameter(moved, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def precision_of(model: nn.Module) -> str:
    """The dtype of the weights, as ``float32``."""
    floating = (tensor.dtype for tensor in model.parameters() if tensor.is_floating_point())
    return str(next(floating, torch.float32)).removeprefix("torch.")
