"""Batch-norm folded into the convolutions before it, as exporters do, for those who want a network without it."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from eyas.calibration.folded_weights import folded_weights
from eyas.errors import ParameterError
from eyas.networks.surgeries.base import replace_layer
from eyas.pruning.tracing.normalised_convolutions import normalised_convolutions


def fold_batch_norm(model: nn.Module, example: Tensor) -> nn.Module:
    r"""A copy in eval mode whose batch-norm is folded into the convolutions before it; it answers the same.

    With :math:`c = \gamma / \sqrt{v + \epsilon}` the weight becomes :math:`c W` and the bias
    :math:`\beta + c (b - \mu)` (arXiv:2305.11624, section 3). Batch-norm that does not follow a convolution alone, is
    shared, has no running statistics, or follows a transposed convolution of groups, stays. Do not train the result:
    each channel's gradient is scaled by its c. ``unfold_batch_norm`` goes the other way.

    Args:
        model: a network that ``torch.export`` captures; it is not changed.
        example: images ``(N, C, H, W)``; only their shape matters.

    Raises:
        ParameterError: there is nothing to fold.
        TraceError: the network cannot be captured.
    """
    pairs = [
        (convolution.layer, convolution.batch_norm)
        for convolution in normalised_convolutions(model, example)
        if convolution.batch_norm is not None and _can_fold(model, convolution.layer, convolution.batch_norm)
    ]
    if not pairs:
        raise ParameterError(
            "the network has no batch-norm with running statistics right behind a convolution of its own"
        )
    folded = copy.deepcopy(model).eval()
    for layer, norm in pairs:
        conv: Any = folded.get_submodule(layer)
        weight, bias = folded_weights(conv, folded.get_submodule(norm))
        conv.weight = nn.Parameter(weight.detach(), conv.weight.requires_grad)
        conv.bias = nn.Parameter(bias.detach(), conv.weight.requires_grad)
        replace_layer(folded, norm, nn.Identity())
    return folded


def _can_fold(model: nn.Module, layer: str, norm: str) -> bool:
    conv, behind = model.get_submodule(layer), model.get_submodule(norm)
    of_groups = isinstance(conv, _ConvTransposeNd) and conv.groups > 1
    return not of_groups and getattr(behind, "running_mean", None) is not None
