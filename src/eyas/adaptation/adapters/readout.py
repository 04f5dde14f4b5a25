"""The linear layer that answers."""

import torch
from torch import Tensor, nn

from eyas.errors import ParameterError


@torch.no_grad()
def last_linear(model: nn.Module, images: Tensor) -> nn.Linear:
    """The linear layer that is called last.

    Raises:
        ParameterError: there is none.
    """
    called: list[nn.Linear] = []
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda layer, *_: called.append(layer)) for layer in layers]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        msg = "`model` has no linear layer: this adapter goes by what the last one reads; take alpha_bn"
        raise ParameterError(msg)
    return called[-1]
