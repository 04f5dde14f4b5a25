"""Which layers are batch-norm, and modes they are put into, always undone on the way out."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers that keep running statistics: those there is something to calibrate in."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def named_batch_norms(model: nn.Module) -> dict[str, _BatchNorm]:
    """Those of :func:`batch_norms` by name, in the order of the modules."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def frozen_norms(model: nn.Module) -> list[str]:
    """Names of layers with running statistics that are no batch-norm of PyTorch's (frozen or instance-norm)."""
    return [
        name
        for name, module in model.named_modules()
        if not isinstance(module, _BatchNorm)
        and {"running_mean", "running_var"} <= module._buffers.keys()
        and module._buffers["running_mean"] is not None
    ]


def skipped_norms(model: nn.Module) -> list[str]:
    """Names of normalisation layers that are none of :func:`batch_norms`: they keep what they hold, if anything."""
    others = (nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm, _InstanceNorm, _BatchNorm)
    followed, frozen = {*batch_norms(model)}, {*frozen_norms(model)}
    return [
        name
        for name, module in model.named_modules()
        if module not in followed and (isinstance(module, others) or name in frozen)
    ]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in eval mode, flags restored one by one (``train()`` may be overridden by the user)."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in flags:
            _set_attributes(module, training=False)
        yield
    finally:
        for module, flag in flags:
            _set_attributes(module, training=flag)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch-norm normalises each batch by its own statistics and tracks nothing; all else is in eval mode."""
    layers = [(layer, layer.track_running_stats) for layer in batch_norms(model)]
    with evaluation_mode(model):
        try:
            for layer, _ in layers:
                _set_attributes(layer, training=True, track_running_stats=False)
            yield
        finally:
            for layer, flag in layers:
                _set_attributes(layer, track_running_stats=flag)


@contextmanager
def track_statistics(model: nn.Module, momentum: float) -> Iterator[list[_BatchNorm]]:
    """Batch-norm alone in train mode with ``momentum``; on an error its statistics come back too."""
    layers = batch_norms(model)
    settings = [(layer, layer.momentum, layer.track_running_stats) for layer in layers]
    buffers = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    counts = [(buffer, value) for buffer, value in buffers if buffer.ndim == 0]  # num_batches_tracked
    with evaluation_mode(model):
        try:
            for layer in layers:
                _set_attributes(layer, training=True, track_running_stats=True, momentum=momentum)
            yield layers
        except BaseException:
            _restore(buffers)
            raise
        finally:
            for layer, old_momentum, flag in settings:
                _set_attributes(layer, momentum=old_momentum, track_running_stats=flag)
            _restore(counts)


def _set_attributes(module: nn.Module, **flags: object) -> None:
    """Plain attributes, past ``Module.__setattr__``, whose checks would cost more than small layers do."""
    module.__dict__.update(flags)


def _restore(saved: list[tuple[Tensor, Tensor]]) -> None:
    for tensor, value in saved:
        tensor.copy_(value)
