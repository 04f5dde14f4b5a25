"""Whether calibration images are like what a network was trained on, by what its batch-norm layers hold.

Statistics that the images make at every batch-norm layer, against the running ones (the check of FDDA's batch-norm
alignment, arXiv:2109.04186, without its generator): a guard for every format that takes ranges from images.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.batchnorm import evaluation_mode, named_batch_norms
from eyas.deploy.exporters.base import require_images
from eyas.errors import DataError

MAX_DISTANCE = 0.5
"""On ResNet-20 and CIFAR-10: 256 calibration or test images 0.05, 8 of them 0.11, of one class 0.24; images that were
not normalised 0.62, noise 0.84, black ones 0.99. Inverted or grey images (0.12, 0.16) are not told from right ones."""


@torch.inference_mode()
def statistics_distance(model: nn.Module, images_NCHW: Tensor, batch_size: int = 256) -> dict[str, float]:
    """Per batch-norm layer, in the order of execution, how far the images' statistics are from the running ones.

    ``sqrt(mean_c((mean - running)^2 / variance + (deviation / running deviation - 1)^2))``: 0 where they are equal,
    1 where channels are off by one standard deviation.
    """
    layers = named_batch_norms(model)
    sums: dict[str, list[Tensor]] = {}

    def add(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].double().movedim(1, 0).flatten(1)  # (C, everything else)
        part = torch.stack([torch.full((len(values),), values.shape[1]), values.sum(1), values.square().sum(1)])
        sums.setdefault(name, []).append(part)

    hooks = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    try:
        with evaluation_mode(model):
            for part in torch.split(images_NCHW, batch_size):
                model(part)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: _distance(torch.stack(parts).sum(0), layers[name]) for name, parts in sums.items()}


def require_like_training(model: nn.Module, images_NCHW: Tensor, limit: float = MAX_DISTANCE) -> float:
    """The mean distance over all layers; 0 for a network without batch-norm, of which nothing is known.

    Raises:
        DataError: the images are unlike what the network was trained on, or there are none.
    """
    require_images(images_NCHW)
    distances = statistics_distance(model, images_NCHW)
    mean = sum(distances.values()) / max(len(distances), 1)
    if not mean <= limit:
        layer = max(distances, key=distances.__getitem__)
        msg = (
            f"the {len(images_NCHW)} calibration images are unlike what the network was trained on: their statistics "
            f"are {mean:.2g} standard deviations from those of its batch-norm layers on average, "
            f"{distances[layer]:.2g} at {layer} (allowed: {limit:g}, `max_calibration_distance`). Calibrate on images "
            "of the same kind, normalised in the same way"
        )
        raise DataError(msg)
    return mean


def _distance(sums_3C: Tensor, layer: _BatchNorm) -> float:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    count, total, squares = sums_3C
    mean = total / count
    deviation = (squares / count - mean.square()).clamp_min(0).add(layer.eps).sqrt()
    running = layer.running_var.double().add(layer.eps).sqrt()
    off = (mean - layer.running_mean.double()) / running
    return float((off.square() + (deviation / running - 1).square()).mean().sqrt())
