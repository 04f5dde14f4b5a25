"""The size of an exported file, predicted from widths.

A float32 ONNX file holds four bytes per parameter, less one number per batch-norm channel: folded into the convolution
before it, scale and shift leave one bias. The rest, names and shapes, hardly depends on widths: it is what the dense
network's file has beside these numbers. Shapes: n candidates, G channel groups.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from eyas.deploy.exporters import Exporter
from eyas.errors import ParameterError

if TYPE_CHECKING:
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
    """Batch-norm channels per channel of each group, ``(G,)``."""

    @classmethod
    def of(cls, space: "SearchSpace") -> Self:
        """Export the dense network once.

        Raises:
            MissingExtraError: onnx is not installed.
            ParameterError: the network takes more than images.
            ExportError: the network cannot be exported.
        """
        inputs, named = space.example
        if len(inputs) != 1 or named:
            msg = "`budget` file_bytes: a network is exported that takes one tensor of images and nothing else"
            raise ParameterError(msg)
        with tempfile.TemporaryDirectory() as scratch:
            dense = Exporter.parse("onnx")(space.model, inputs[0], Path(scratch) / "dense.onnx").stat().st_size
        numbers = cls(0.0, _batchnorm_channels(space))
        dense_G = np.array([group.channels for group in space.groups])
        return cls(dense - float(numbers.bytes(space.cost().params, dense_G)), numbers.batchnorm)

    def bytes(self, params: int | NDArray[np.int64], widths: NDArray[np.int64]) -> Floats:
        """The size at ``(..., G)`` widths with so many parameters, ``(...,)``."""
        size: Floats = self.overhead + BYTES * (params - widths @ self.batchnorm)
        return size


def _batchnorm_channels(space: "SearchSpace") -> Floats:
    """Batch-norm channels that follow each group, per channel of it, ``(G,)``."""
    offsets, count = space.layout.offsets, len(space.groups)
    means = [units for (name, _), units in space.layout.slots.items() if name.endswith("running_mean")]
    units = np.concatenate([*means, np.empty(0, np.int64)])
    channels_G = np.bincount(np.searchsorted(offsets, units, side="right") - 1, minlength=count)[:count]
    return channels_G / np.array([group.channels for group in space.groups], np.float64)
