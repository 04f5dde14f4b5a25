"""How strongly the channels are active that each layer reads and makes, on calibration images.

Shapes: N images, C channels; sums are float64.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.calibration.recalibrate import like_weights
from eyas.errors import DataError
from eyas.pruning.layer_calls import LayerCall, WatchedCalls
from eyas.pruning.surgery import rebuild


@dataclass
class ChannelMoments:
    """Sums over all images, positions and calls."""

    values: int = 0
    """How many each channel has."""
    total: Tensor | float = 0.0
    magnitude: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    active: Tensor | float = 0.0
    """Values that are not zero."""

    def add(self, tensor: Tensor, channel: int) -> None:
        """Count what a layer read or made, with its channels along dimension ``channel``."""
        tensor = tensor.detach()  # the forward code may turn gradients on again
        dims = [dim for dim in range(tensor.ndim) if dim != channel % tensor.ndim]
        self.values += tensor.numel() // tensor.shape[channel]
        self.total = self.total + _sum(tensor, dims)
        self.magnitude = self.magnitude + _sum(tensor.abs(), dims)
        self.squares = self.squares + _sum(tensor.square(), dims)
        self.active = self.active + _sum(tensor != 0, dims)

    def mean(self) -> Tensor:
        """Mean magnitude per channel, ``(C,)``."""
        return torch.as_tensor(self.magnitude).cpu() / self.values

    def active_share(self) -> Tensor:
        """Share of values that are not zero, ``(C,)``."""
        return torch.as_tensor(self.active).cpu() / self.values

    def rms(self) -> Tensor:
        """Root mean square per channel, ``(C,)``."""
        return (torch.as_tensor(self.squares).cpu() / self.values).sqrt()

    def std(self) -> Tensor:
        """Standard deviation per channel, ``(C,)``."""
        mean_C = torch.as_tensor(self.total).cpu() / self.values
        return (self.rms().square() - mean_C.square()).clamp(min=0).sqrt()


@dataclass
class LayerActivations:
    """What one weight reads and makes."""

    inputs: ChannelMoments = field(default_factory=ChannelMoments)
    outputs: ChannelMoments = field(default_factory=ChannelMoments)


Activations = dict[str, LayerActivations]
"""By the weight's name in the network."""


def record_activations(
    model: nn.Module, images: Tensor, *, num_images: int | None = None, batch_size: int = 64
) -> Activations:
    """One pass of the dense network in eval mode, batch by batch on its device; the network stays as it was.

    Args:
        model: the network.
        images: normalised floats ``(N, C, H, W)``.
        num_images: the first so many; all without it.
        batch_size: images per pass.

    Raises:
        DataError: there are no images, or they are no floats.
    """
    recorded: Activations = {}

    def record(call: LayerCall) -> Tensor:
        layer = recorded.setdefault(call.name, LayerActivations())
        layer.inputs.add(call.input, call.channel_dim(call.input))
        output = call()
        layer.outputs.add(output, call.channel_dim(output))
        return output

    watch_layers(model, images, record, num_images=num_images, batch_size=batch_size)
    return recorded


@torch.no_grad()
def watch_layers(
    model: nn.Module,
    images: Tensor,
    record: Callable[[LayerCall], Tensor],
    *,
    num_images: int | None = None,
    batch_size: int = 64,
) -> None:
    """One pass in eval mode in which ``record`` takes the place of every layer call; the network stays as it was.

    Raises:
        DataError: there are no images, or they are no floats.
    """
    batches, watched = batches_for(model, images, batch_size, num_images), with_own_buffers(model)
    with evaluation_mode(watched), WatchedCalls(watched, record):
        for batch in batches:
            watched(batch)


def with_own_buffers(model: nn.Module) -> nn.Module:
    """The network on the same parameters, with a copy of each buffer, which a forward pass might write to."""
    return rebuild(model, lambda tensor: tensor if isinstance(tensor, nn.Parameter) else tensor.clone())


def batches_for(model: nn.Module, images: Tensor, size: int, num_images: int | None = None) -> Iterable[Tensor]:
    """Images in batches, each moved to where the network lies and cast to the dtype of its weights.

    Raises:
        DataError: there are no images, or they are no floats.
    """
    return (like_weights(model, batch) for batch in torch.split(require_images(images)[:num_images], size))


def require_images(images: Any) -> Tensor:
    """Calibration images, checked.

    Raises:
        DataError: there are none, or they are no floats.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point() or not images.ndim or not len(images):
        shown = f"{tuple(images.shape)} {images.dtype}" if isinstance(images, Tensor) else type(images).__name__
        msg = f"calibration images are {shown}: give one tensor (N, C, H, W) of normalised floats, not empty"
        raise DataError(msg)
    return images


def _sum(tensor: Tensor, dims: list[int]) -> Tensor:
    return tensor.sum(dims, dtype=torch.float64) if dims else tensor.double()
