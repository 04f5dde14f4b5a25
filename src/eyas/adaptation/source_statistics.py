"""Batch-norm statistics by layer name: put into a network, and refused where they are none."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError

PARTS = ("mean", "var", "weight", "bias", "eps")
"""What a bundle holds of a layer."""
_OF_ANOTHER = "they are another network's; export this one again"


def check_statistics(model: nn.Module, argument: str) -> None:
    """Refuse statistics that no images can have had, and weights that are none.

    Raises:
        DataError: a mean, a weight or a bias is not finite, or a variance is negative or not finite.
    """
    for name, layer in named_batch_norms(model).items():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        finite = torch.isfinite(layer.running_mean).all() and torch.isfinite(layer.running_var).all()
        if not finite or (layer.running_var < 0).any():
            what = "a negative variance" if finite else "statistics that are not finite"
            raise DataError(f"`{argument}`: batch-norm layer {name!r} has {what}; calibrate it again")
        for part, parameter in layer.named_parameters(recurse=False):
            if not torch.isfinite(parameter).all():
                msg = f"`{argument}`: batch-norm layer {name!r} has a {part} that is not finite; load it again"
                raise DataError(msg)


def put_statistics(model: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Write a statistics bundle into a network's batch-norm layers: mean, variance, weight and bias.

    Args:
        model: changed in place.
        statistics: ``<layer>.mean``, ``<layer>.var`` and, where the layer has them, ``.weight`` and ``.bias``; further
            ``<layer>.eps``, which must be the layer's, ``images``, and what a device tells as ``field.<name>``.

    Raises:
        DataError: a layer's tensors are missing, of another size, or no floats; the bundle has layers that the network
            lacks, or another ``eps``; or the values are no statistics.
    """
    layers = named_batch_norms(model)
    _require_same_layers(statistics, layers)
    for name, layer in layers.items():
        tensors = {"mean": layer.running_mean, "var": layer.running_var, "weight": layer.weight, "bias": layer.bias}
        for part, tensor in tensors.items():
            value = statistics.get(f"{name}.{part}")
            if not isinstance(tensor, Tensor) or (value is None and part in {"weight", "bias"}):
                continue
            if value is None or value.shape != tensor.shape or not value.is_floating_point():
                has = "no tensor" if value is None else f"a tensor of the shape {tuple(value.shape)}"
                if value is not None and not value.is_floating_point():
                    has = f"{value.dtype} as"
                msg = f"`statistics` hold {has} {name}.{part}, and the network has {tuple(tensor.shape)}: {_OF_ANOTHER}"
                raise DataError(msg)
            with torch.no_grad():
                tensor.copy_(value)
    check_statistics(model, "statistics")


def _require_same_layers(statistics: Mapping[str, Tensor], layers: Mapping[str, _BatchNorm]) -> None:
    """Refuse a bundle that says more than the network has layers for, or that was made with another ``eps``."""
    own = {f"{name}.{part}" for name in layers for part in PARTS}
    beyond = sorted(name for name in statistics.keys() - own if name != "images" and not name.startswith("field."))
    if beyond:
        raise DataError(f"`statistics` hold {beyond[0]}, which the network does not have: {_OF_ANOTHER}")
    for name, layer in layers.items():
        eps = statistics.get(f"{name}.eps")
        if eps is not None and not (eps.numel() == 1 and math.isclose(float(eps), layer.eps, rel_tol=1e-6)):
            msg = f"`statistics` hold {name}.eps as {eps.tolist()}, and the network has {layer.eps:g}: {_OF_ANOTHER}"
            raise DataError(msg)
