"""Batch-norm statistics by layer name: put into a network, and refused where they are none."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import named_batch_norms
from eyas.errors import DataError


def check_statistics(model: nn.Module, argument: str) -> None:
    """Refuse statistics that no images can have had.

    Raises:
        DataError: a mean is not finite, or a variance is negative or not finite.
    """
    for name, layer in named_batch_norms(model).items():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        finite = torch.isfinite(layer.running_mean).all() and torch.isfinite(layer.running_var).all()
        if not finite or (layer.running_var < 0).any():
            what = "a negative variance" if finite else "statistics that are not finite"
            raise DataError(f"`{argument}`: batch-norm layer {name!r} has {what}; calibrate it again")


def put_statistics(model: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Write a statistics bundle into a network's batch-norm layers: mean, variance, weight and bias.

    Args:
        model: changed in place.
        statistics: ``<layer>.mean``, ``<layer>.var`` and, where the layer has them, ``.weight`` and ``.bias``.

    Raises:
        DataError: a layer's tensors are missing, or of another size; or the values are no statistics.
    """
    for name, layer in named_batch_norms(model).items():
        tensors = {"mean": layer.running_mean, "var": layer.running_var, "weight": layer.weight, "bias": layer.bias}
        for part, tensor in tensors.items():
            value = statistics.get(f"{name}.{part}")
            if not isinstance(tensor, Tensor) or (value is None and part in {"weight", "bias"}):
                continue
            if value is None or value.shape != tensor.shape:
                has = "no tensor" if value is None else f"a tensor of the shape {tuple(value.shape)}"
                msg = (
                    f"`statistics` hold {has} {name}.{part}, and the network has {tuple(tensor.shape)}: they are "
                    "another network's; export this one again"
                )
                raise DataError(msg)
            with torch.no_grad():
                tensor.copy_(value)
    check_statistics(model, "statistics")
