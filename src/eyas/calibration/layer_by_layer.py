"""Population statistics of every layer, exact at any depth: one pass over the images per layer."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.base import Calibrator
from eyas.calibration.batchnorm import track_statistics
from eyas.calibration.pooled import pooled
from eyas.calibration.update_bn_stats import LayerStatistics, StackedStatistics, forward_batches, stack_layers


class LayerByLayer(Calibrator):
    """Pooled statistics of one layer after the other, each behind layers that are calibrated already.

    ``pooled`` is exact for what a layer sees while all others normalise by the statistics of their batch; here each
    sees what it will see in use, so that the size of batches and their order no longer matter (but within a layer that
    is called several times): precise batch-norm (Wu and Johnson 2021, arXiv:2105.07576), made exact by the order. It
    takes as many passes as there are batch-norm layers, and all batches at once.

    Use it for the network that is shipped, where batches are small or sorted by class; for candidates it is dear.
    """

    kind: Literal["layer_by_layer"] = "layer_by_layer"

    def __call__(self, model: nn.Module, batches: Iterable[Tensor]) -> int:
        """Write the exact statistics; see the base for the promise."""
        batches = list(batches)
        with track_statistics(model, momentum=1.0) as layers:
            images, order = call_order(model, layers, batches)
            for layer in order:
                stacked = record_layer(model, layer, batches)
                stacked.write(*pooled(stacked))
                layer.training = False
        return images


def record_layer(model: nn.Module, layer: _BatchNorm, batches: list[Tensor]) -> StackedStatistics:
    """What one layer sees, within :func:`eyas.calibration.batchnorm.track_statistics` of momentum 1."""
    record = LayerStatistics(layer)
    handle = layer.register_forward_hook(record.record)
    try:
        forward_batches(model, batches)
    finally:
        handle.remove()
    (stacked,) = stack_layers([record])
    return stacked


def call_order(model: nn.Module, layers: list[_BatchNorm], batches: list[Tensor]) -> tuple[int, list[_BatchNorm]]:
    """The number of images, and the layers that run, the first first."""
    called: dict[nn.Module, None] = {}
    handles = [layer.register_forward_hook(lambda layer, *_: called.setdefault(layer)) for layer in layers]
    try:
        images = forward_batches(model, batches)
    finally:
        for handle in handles:
            handle.remove()
    return images, [layer for layer in called if isinstance(layer, _BatchNorm)]
