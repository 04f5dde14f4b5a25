"""Blocks of consecutive filters that share an input channel.

O output channels, I input channels, K entries of a kernel; U = O / N * I blocks with N * K weights each.
"""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.sparsity.free_units import FreeUnits


class OneByN(FreeUnits):
    """Kernels of N consecutive filters that read the same input channel become zero together (arXiv:2105.14713).

    Use it for a runtime of your own with block-sparse kernels (XNNPACK has them for 1x1 convolutions and blocks of 2 or
    4, arXiv:1911.09723). As published, MobileNetV1 at half: 70.05 % in blocks of 4, 70.76 by single weights, 65.35 by
    whole filters. No runtime that `eyas` exports to is faster with it. Layers whose filters are no multiple of N stay
    dense.
    """

    kind: Literal["one_by_n"] = "one_by_n"
    n: Annotated[int, Field(ge=1, le=64)] = 4
    """Filters of a block."""
    rearrange: bool = True
    """Sorts filters by their L1 norm first, so that weak ones share blocks; the network computes the same. Only where
    nothing but the layer itself makes the channels (no residual sum)."""

    def refusal(self, layer: nn.Module) -> str | None:
        """Also where the filters make no whole blocks."""
        reason = super().refusal(layer)
        if reason is not None:
            return reason
        filters = len(layer._parameters["weight"])  # type: ignore[arg-type]
        return f"its {filters} filters are no multiple of {self.n}" if filters % self.n else None

    def units(self, weight: Tensor) -> Tensor:
        """Blocks in order of their filters, then of their input channels."""
        blocks_BNIK = weight.reshape(len(weight) // self.n, self.n, weight.shape[1], -1)
        return blocks_BNIK.transpose(1, 2).reshape(-1, self.n * blocks_BNIK.shape[-1])

    def spread(self, units_U: Tensor, weight: Tensor) -> Tensor:
        """The value of its block for every entry."""
        blocks = len(weight) // self.n
        kernel = weight[0, 0].numel()
        wide = units_U.reshape(blocks, 1, weight.shape[1], 1).expand(blocks, self.n, weight.shape[1], kernel)
        return wide.reshape(weight.shape)
