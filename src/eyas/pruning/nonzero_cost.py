"""What is left of a network's weights and multiply-accumulates where zeros are not counted."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import evaluation_mode
from eyas.pruning.layer_calls import LayerCall, WatchedCalls


@dataclass(frozen=True)
class NonzeroCost:
    """Of convolutions and linear layers; no runtime that does not skip zeros is faster by it."""

    weights: int
    """Entries of their weights."""
    nonzero_weights: int
    nonzero_macs: int
    """Multiply-accumulates per image with weights that are not zero."""

    def as_metrics(self) -> dict[str, int]:
        """As the stage's metrics have them."""
        return {
            "layer_weights": self.weights,
            "nonzero_weights": self.nonzero_weights,
            "nonzero_macs": self.nonzero_macs,
        }


def nonzero_cost(model: nn.Module, images: Tensor) -> NonzeroCost:
    """Count the weights that are not zero, and how often each is multiplied.

    A weight of a convolution is multiplied once at each place of its output (transposed: of its input).

    Args:
        model: any network.
        images: one at least, ``(N, C, H, W)``.
    """
    nonzero: dict[str, tuple[int, int]] = {}
    macs = 0

    def answer(call: LayerCall) -> Tensor:
        nonlocal macs
        output = call()
        filled = int(torch.count_nonzero(call.weight))
        nonzero[call.name] = call.weight.numel(), filled
        places = call.input if call.is_convolution and call.is_transposed else output
        macs += places.numel() // places.shape[call.channel_dim(places)] * filled
        return output

    with evaluation_mode(model), torch.no_grad(), WatchedCalls(model, answer):
        model(images)
    total, filled = (sum(numbers) for numbers in zip(*nonzero.values(), strict=True))
    return NonzeroCost(total, filled, macs // len(images))
