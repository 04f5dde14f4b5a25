"""Batch-norm statistics re-estimated from batches: each layer's per-batch statistics recorded, then merged.

Shapes: N images, C channels. A *call* is one layer seeing one batch; a shared layer has several per forward.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.calibration.batchnorm import track_statistics
from eyas.errors import DataError


@dataclass
class LayerStatistics:
    """What one layer saw: per call the mean and the unbiased variance ``(C,)`` and the values per channel."""

    layer: _BatchNorm
    means: list[Tensor] = field(default_factory=list)
    variances: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    source: tuple[Tensor, Tensor] = field(init=False)
    """Mean and variance ``(C,)`` that the layer had before."""

    def __post_init__(self) -> None:
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        self.source = self.layer.running_mean.clone(), self.layer.running_var.clone()

    def record(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook: with momentum 1 the running statistics are those of this very batch."""
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        self.means.append(self.layer.running_mean.clone())
        self.variances.append(self.layer.running_var.clone())
        self.counts.append(inputs[0].numel() // inputs[0].shape[1])


@dataclass(frozen=True)
class StackedStatistics:
    """Records of layers with equally many calls T side by side, S channels in all; float64, on their device."""

    records: list[LayerStatistics]
    means: Tensor
    variances: Tensor
    """Unbiased."""
    counts: Tensor
    """Values per channel behind each."""

    @property
    def source(self) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(S,)`` that the layers had before; float64."""
        means, variances = zip(*(entry.source for entry in self.records), strict=True)
        return torch.cat(means).double(), torch.cat(variances).double()

    def write(self, mean_S: Tensor, variance_S: Tensor) -> None:
        """Put an estimate into the layers' buffers."""
        sizes = [len(entry.means[0]) for entry in self.records]
        pieces = zip(mean_S.split_with_sizes(sizes), variance_S.split_with_sizes(sizes), strict=True)
        for entry, (mean, variance) in zip(self.records, pieces, strict=True):
            assert entry.layer.running_mean is not None
            assert entry.layer.running_var is not None
            entry.layer.running_mean.copy_(mean)
            entry.layer.running_var.copy_(variance)


def stack_layers(records: Iterable[LayerStatistics]) -> Iterator[StackedStatistics]:
    """Layers side by side, so that an estimate is a handful of operations and not a handful per layer."""
    by_calls: dict[int, list[LayerStatistics]] = {}
    for entry in records:
        by_calls.setdefault(len(entry.counts), []).append(entry)
    by_calls.pop(0, None)  # never called: nothing to re-estimate
    for group in by_calls.values():
        means = torch.cat([torch.stack(entry.means) for entry in group], 1).double()
        variances = torch.cat([torch.stack(entry.variances) for entry in group], 1).double()
        rows = torch.tensor([entry.counts for entry in group], dtype=torch.float64)
        sizes = torch.tensor([len(entry.means[0]) for entry in group])
        rows, sizes = copy_without_waiting(rows, means.device), copy_without_waiting(sizes, means.device)
        yield StackedStatistics(group, means, variances, rows.repeat_interleave(sizes, 0, output_size=means.shape[1]).T)


def update_bn_stats(
    model: nn.Module,
    batches: Iterable[Tensor],
    estimate: Callable[[StackedStatistics], tuple[Tensor, Tensor]],
) -> int:
    """Run ``batches`` and write what ``estimate`` makes of each layer's per-batch statistics.

    Returns the number of images. But for the running statistics the model is as before, and after an error those, too.
    """
    with track_statistics(model, momentum=1.0) as layers:
        records = [LayerStatistics(layer) for layer in layers]
        handles = [entry.layer.register_forward_hook(entry.record) for entry in records]
        try:
            images = forward_batches(model, batches)
        finally:
            for handle in handles:
                handle.remove()
        for stacked in stack_layers(records):
            stacked.write(*estimate(stacked))
    return images


@torch.inference_mode()
def forward_batches(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Forward every batch, keep nothing, return the number of images.

    Raises:
        DataError: there is no image, or a batch too small to have a variance.
    """
    images = 0
    for batch in batches:
        try:
            model(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            msg = f"a batch of shape {tuple(batch.shape)} has no variance inside: give 2 or more images"
            raise DataError(msg) from error
        images += batch.shape[0]
    if not images:
        msg = "no images to calibrate batch-norm with: give at least one batch of two images"
        raise DataError(msg)
    return images


def copy_without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device``; a GPU works on, where a plain copy would make this process wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
