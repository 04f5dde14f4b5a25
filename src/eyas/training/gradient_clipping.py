"""Gradients kept from being too large for the weights that they change."""

import torch
from torch import Tensor, nn

_SMALLEST_WEIGHT = 1e-3
"""Norm that a unit counts as having at least, so that zeros can learn."""
_SMALLEST_GRADIENT = 1e-6


@torch.no_grad()
def clip_adaptively(model: nn.Module, ratio: float) -> None:
    r"""Scale each unit's gradient down to ``ratio`` times its weights' norm (Brock et al. 2021, arXiv:2102.06171).

    .. math:: G_i \leftarrow \lambda \frac{\max(\|W_i\|, 10^{-3})}{\|G_i\|} G_i
        \quad \text{where} \quad \|G_i\| > \lambda \max(\|W_i\|, 10^{-3})

    A unit is a filter of a convolution or a row of a matrix; a vector is one. The last layer is left alone, as
    published.

    Args:
        model: has gradients; those that are None stay so.
        ratio: lambda.
    """
    last = last_layer(model)
    kept = {id(parameter) for parameter in (last.parameters() if last is not None else ())}
    for parameter in model.parameters():
        if parameter.grad is not None and id(parameter) not in kept:
            largest = ratio * _unit_norm(parameter).clamp(min=_SMALLEST_WEIGHT)
            norm = _unit_norm(parameter.grad).clamp(min=_SMALLEST_GRADIENT)
            parameter.grad.mul_((largest / norm).clamp(max=1))


def last_layer(model: nn.Module) -> nn.Module | None:
    """The convolution or linear layer that was registered last: the classifier of most networks."""
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    return layers[-1] if layers else None


def _unit_norm(tensor: Tensor) -> Tensor:
    """L2 norm of each unit, of a shape that goes with the tensor's."""
    dims = tuple(range(1 if tensor.ndim > 1 else 0, tensor.ndim))
    return torch.linalg.vector_norm(tensor, dim=dims, keepdim=True) if dims else tensor.abs()
