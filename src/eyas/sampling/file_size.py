"""The size of an exported file, predicted from widths.

A float32 ONNX file holds four bytes per parameter, less one number per batch-norm channel: folded into the convolution
before it, scale and shift leave one bias. The rest, names and shapes, hardly depends on widths: it is what the dense
network's file has beside these numbers. What of it goes with a residual block that is left out is the difference to the
file without the blocks that are built alike, shared evenly. Shapes: n candidates, G channel groups, B residual blocks.
"""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyas.deploy.exporters import Exporter
from eyas.errors import ParameterError
from eyas.pruning.surgery import prune

if TYPE_CHECKING:
    from torch import nn

    from eyas.pruning.space import SearchSpace

BYTES = 4
"""Of a number in float32."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FileSize:
    """Bytes of the float32 ONNX file at any widths."""

    overhead: float
    """Bytes beside the numbers that depend on widths."""
    batchnorm: Floats = field(repr=False)
    """Batch-norm channels per channel of each group, ``(G,)``; with residual blocks ``(1 + B, G)``: outside of all, and
    in each, but for smaller ones inside it."""
    blocks: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    """Of the overhead, what goes with each residual block, ``(B,)``, but for smaller ones inside it."""
    leaders: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    """A group of each block, ``(B,)``: 0 wide where it is left out."""

    @classmethod
    def of(cls, space: "SearchSpace") -> Self:
        """Export the dense network, and again without each further kind of residual blocks, down to none.

        Raises:
            MissingExtraError: onnx is not installed.
            ParameterError: the network takes more than images.
            ExportError: the network cannot be exported.
        """
        inputs, named = space.example
        if len(inputs) != 1 or named:
            msg = "`budget` file_bytes: a network is exported that takes one tensor of images and nothing else"
            raise ParameterError(msg)
        leaders = space.legal.block_table.leaders
        size = cls(0.0, _batchnorm_channels(space), np.zeros(len(leaders)), leaders)
        size = replace(size, overhead=size._beside(space, space.model, space.legal.dense))
        widths_G = space.legal.dense.copy()
        for alike in _alike(space):
            widths_G[space.legal.block_table.members[alike].any(0)] = 0
            less = -size._beside(space, prune(space.model, space, space.plan(widths_G)), widths_G)
            of_blocks = size.blocks.copy()
            of_blocks[alike] = less / len(alike)
            size = replace(size, blocks=of_blocks)
        return size

    def bytes(self, params: int | NDArray[np.int64], widths: NDArray[np.int64]) -> Floats:
        """The size at ``(..., G)`` widths with so many parameters, ``(...,)``."""
        there = widths[..., self.leaders] > 0
        channels = widths @ np.atleast_2d(self.batchnorm).T
        folded = channels[..., 0] + (channels[..., 1:] * there).sum(-1)
        size: Floats = self.overhead - ~there @ self.blocks + BYTES * (params - folded)
        return size

    def _beside(self, space: "SearchSpace", network: "nn.Module", widths_G: NDArray[np.int64]) -> float:
        """Bytes of the file of a network at these widths, beyond those that are predicted."""
        with tempfile.TemporaryDirectory() as scratch:
            path = Exporter.parse("onnx")(network, space.example[0][0], Path(scratch) / "network.onnx")
            return path.stat().st_size - float(self.bytes(space.cost(widths_G).params, widths_G))


def _batchnorm_channels(space: "SearchSpace") -> Floats:
    """Batch-norm channels that follow each group, per channel of it, ``(1 + B, G)``: see :class:`FileSize`."""
    channels_G = np.array([group.channels for group in space.groups], np.float64)
    counted = np.zeros((1 + len(space.blocks), len(channels_G)))
    smallest = sorted(enumerate(space.blocks, 1), key=lambda item: len(item[1].tensors))
    for (name, _), units in space.layout.slots.items():
        if name.endswith("running_mean"):
            home = next((number for number, block in smallest if name in block.tensors), 0)
            groups = np.searchsorted(space.layout.offsets, units[units >= 0], side="right") - 1
            counted[home] += np.bincount(groups, minlength=len(channels_G))
    return counted / channels_G


def _alike(space: "SearchSpace") -> list[list[int]]:
    """Numbers of the blocks whose parameters and buffers are called alike, by names as long; inner blocks first."""
    alike: dict[tuple[tuple[str, int, int], ...], list[int]] = {}
    for number, block in enumerate(space.blocks):
        kinds = ((name.rpartition(".")[2], len(name), len(space.layout.shapes[name])) for name in block.tensors)
        alike.setdefault(tuple(sorted(kinds)), []).append(number)
    return sorted(alike.values(), key=lambda numbers: len(space.blocks[numbers[0]].tensors))
