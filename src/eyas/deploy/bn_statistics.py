"""The statistics bundle: what every batch-norm layer holds, for calibrating again on the device's own data."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eyas.calibration.batchnorm import named_batch_norms


def bn_statistics(model: nn.Module, images: int) -> dict[str, Tensor]:
    """Per batch-norm layer ``mean``, ``var``, ``weight``, ``bias`` (each ``(C,)``), ``eps``; and ``images``.

    Args:
        model: whose layers are read.
        images: how many images the statistics stand on.
    """
    bundle: dict[str, Tensor] = {"images": torch.tensor(images)}
    for name, layer in named_batch_norms(model).items():
        tensors = {"mean": layer.running_mean, "var": layer.running_var, "weight": layer.weight, "bias": layer.bias}
        for part, tensor in tensors.items():
            if isinstance(tensor, Tensor):
                bundle[f"{name}.{part}"] = tensor.detach().cpu().contiguous().clone()
        bundle[f"{name}.eps"] = torch.tensor(layer.eps, dtype=torch.float64)
    return bundle


def write_statistics(model: nn.Module, images: int, path: Path) -> Path:
    """Write :func:`bn_statistics` as safetensors."""
    save_file(bn_statistics(model, images), path)
    return path
