"""Residual blocks left out image by image, while a network trains.

N images, B blocks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from eyas.errors import ParameterError
from eyas.pruning.dropped_layers import is_below
from eyas.pruning.surgery import scratch_copy
from eyas.pruning.tracing.call import module_of
from eyas.pruning.tracing.capture import capture
from eyas.pruning.tracing.residual_branches import ResidualBranch, residual_branches


class StochasticDepth:
    """Scales the branches of residual blocks whose shortcut is an identity (Huang et al. 2016, arXiv:1603.09382).

    Args:
        model: a network that ``torch.export`` captures.
        example: images ``(N, C, H, W)``; only their shape matters.

    Raises:
        ParameterError: it has no such block.
        TraceError: it cannot be captured.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        branches = residual_branches(model, capture(scratch_copy(model).eval(), (example,), {}))
        ends = {branch.name: _last_layer(branch) for branch in branches}
        self.layers = {block: layer for block, layer in ends.items() if layer}
        """The last layer of each block's branch, by the block."""
        if not self.layers:
            raise ParameterError(
                "the network has no residual block whose shortcut is an identity and whose branch ends in a layer: "
                "there is none that can be left out"
            )
        self._ends = [model.get_submodule(layer) for layer in self.layers.values()]

    def draw(self, images: int, drop: float) -> Tensor:
        """Scales ``(B, N)``: 0 with probability ``drop``, else 1 / (1 - drop), by torch's own generator."""
        return (torch.rand(len(self._ends), images) >= drop) / (1 - drop)

    @contextmanager
    def applied(self, scales_BN: Tensor) -> Iterator[None]:
        """Within it each image's branches are scaled so; 0 leaves a block out, 1 changes nothing."""
        handles = [
            end.register_forward_hook(_scaling(scale_N)) for end, scale_N in zip(self._ends, scales_BN, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _last_layer(branch: ResidualBranch) -> str | None:
    """The module whose output the addition takes up, if it runs in the branch alone."""
    end = next(node for node in branch.nodes if not branch.nodes.issuperset(node.users))
    layer = module_of(end)
    return layer if is_below(layer, branch.layers) else None


def _scaling(scale_N: Tensor) -> Any:
    def scale(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        shape = (-1, *[1] * (output.ndim - 1))
        return output * scale_N.to(output.device, output.dtype).view(shape)

    return scale
