"""What calibration and scoring do to batch-norm layers, always undone on the way out.

Shapes: N images, C channels. A *call* is one layer seeing one batch; a shared layer has several per forward.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eyas.errors import DataError


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that keep running statistics: those there is something to calibrate in."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def frozen_norms(model: nn.Module) -> list[str]:
    """Names of layers with running statistics that are no batch-norm of PyTorch's (frozen or instance-norm)."""
    return [
        name
        for name, module in model.named_modules()
        if not isinstance(module, _BatchNorm)
        and {"running_mean", "running_var"} <= module._buffers.keys()
        and module._buffers["running_mean"] is not None
    ]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, flags restored one by one (``train()`` may be overridden by the user)."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            _set(module, training=False)
        yield
    finally:
        for module, flag in flags:
            _set(module, training=flag)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch-norm normalises each batch by its own statistics and tracks nothing; all else is in eval mode."""
    layers = [(layer, layer.track_running_stats) for layer in batch_norms(model)]
    with evaluation_mode(model):
        try:
            for layer, _ in layers:
                _set(layer, training=True, track_running_stats=False)
            yield
        finally:
            for layer, flag in layers:
                _set(layer, track_running_stats=flag)


@contextmanager
def tracking(model: nn.Module, momentum: float) -> Iterator[list[_BatchNorm]]:
    """Batch-norm alone in train mode with ``momentum``; on an error its statistics come back too."""
    layers = batch_norms(model)
    settings = [(layer, layer.momentum, layer.track_running_stats) for layer in layers]
    buffers = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    counts = [(buffer, value) for buffer, value in buffers if buffer.ndim == 0]  # num_batches_tracked
    with evaluation_mode(model):
        try:
            for layer in layers:
                _set(layer, training=True, track_running_stats=True, momentum=momentum)
            yield layers
        except BaseException:
            _restore(buffers)
            raise
        finally:
            for layer, old_momentum, flag in settings:
                _set(layer, momentum=old_momentum, track_running_stats=flag)
            _restore(counts)


@dataclass
class LayerRecord:
    """What one layer saw: per call the mean and the unbiased variance ``(C,)`` and the values per channel."""

    layer: _BatchNorm
    means: list[Tensor] = field(default_factory=list)
    variances: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Forward hook: with momentum 1 the running statistics are those of this very batch."""
        assert self.layer.running_mean is not None
        assert self.layer.running_var is not None
        self.means.append(self.layer.running_mean.clone())
        self.variances.append(self.layer.running_var.clone())
        self.counts.append(inputs[0].numel() // inputs[0].shape[1])


@dataclass(frozen=True)
class Joined:
    """Records of layers with equally many calls T side by side, S channels in all; float64, on their device."""

    records: list[LayerRecord]
    means: Tensor
    variances: Tensor
    """Unbiased."""
    counts: Tensor
    """Values per channel behind each."""

    def write(self, mean_S: Tensor, variance_S: Tensor) -> None:
        """Put an estimate into the layers' buffers."""
        sizes = [len(entry.means[0]) for entry in self.records]
        pieces = zip(mean_S.split_with_sizes(sizes), variance_S.split_with_sizes(sizes), strict=True)
        for entry, (mean, variance) in zip(self.records, pieces, strict=True):
            assert entry.layer.running_mean is not None
            assert entry.layer.running_var is not None
            entry.layer.running_mean.copy_(mean)
            entry.layer.running_var.copy_(variance)


def join(records: Iterable[LayerRecord]) -> Iterator[Joined]:
    """Layers side by side, so that an estimate is a handful of operations and not a handful per layer."""
    by_calls: dict[int, list[LayerRecord]] = {}
    for entry in records:
        by_calls.setdefault(len(entry.counts), []).append(entry)
    by_calls.pop(0, None)  # never called: nothing to re-estimate
    for group in by_calls.values():
        means = torch.cat([torch.stack(entry.means) for entry in group], 1).double()
        variances = torch.cat([torch.stack(entry.variances) for entry in group], 1).double()
        rows = torch.tensor([entry.counts for entry in group], dtype=torch.float64)
        sizes = torch.tensor([len(entry.means[0]) for entry in group])
        rows, sizes = without_waiting(rows, means.device), without_waiting(sizes, means.device)
        yield Joined(group, means, variances, rows.repeat_interleave(sizes, 0, output_size=means.shape[1]).T)


def without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on ``device``; a GPU works on, where a plain copy would make this process wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def reestimate(model: nn.Module, batches: Iterable[Tensor], estimate: Callable[[Joined], tuple[Tensor, Tensor]]) -> int:
    """Run ``batches`` and write what ``estimate`` makes of each layer's per-batch statistics.

    Returns the number of images. But for the running statistics the model is as before, and after an error those, too.
    """
    with tracking(model, momentum=1.0) as layers:
        records = [LayerRecord(layer) for layer in layers]
        handles = [entry.layer.register_forward_hook(entry.note) for entry in records]
        try:
            images = run(model, batches)
        finally:
            for handle in handles:
                handle.remove()
        for joined in join(records):
            joined.write(*estimate(joined))
    return images


@torch.inference_mode()
def run(model: nn.Module, batches: Iterable[Tensor]) -> int:
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


def _set(module: nn.Module, **flags: object) -> None:
    """Plain attributes, past ``Module.__setattr__``, whose checks would cost more than small layers do."""
    module.__dict__.update(flags)


def _restore(saved: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, value in saved:
        tensor.copy_(value)
