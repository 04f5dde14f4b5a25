"""Comparison layer by layer: what a deep network computes wrongly early may vanish before its end.

Without batch-norm, fresh weights shrink a signal by a third in each layer, until biases alone reach the outputs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from eyas.pruning.mask_parity import gap, largest
from eyas.pruning.surgery import Slices

CANCELLED = 0.01
"""Outputs below this share of the products that they sum may be rounding, and are compared as if they were as large."""
ROUNDING = 1e-9
"""Relative difference below which no closer one is looked for."""
_NAMES = ("linear", *(f"conv{kind}{dims}d" for kind in ("", "_transpose") for dims in (1, 2, 3)))
LAYERS = {getattr(functional, name) for name in _NAMES}
"""The functions of convolutions and linear layers."""


@dataclass(frozen=True)
class LayerOutput:
    """What one convolution or linear layer computed."""

    output: Tensor
    weight: Tensor
    scale: float
    """Largest product of an input with a weight."""


class LayerOutputs(TorchFunctionMode):
    """Lists the outputs of all convolutions and linear layers, in order of execution."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[LayerOutput] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in LAYERS and isinstance(result, Tensor):
            operands = [item for item in (*args, *(kwargs or {}).values()) if isinstance(item, Tensor)][:2]
            self.layers.append(LayerOutput(result.detach(), operands[-1], prod(largest(item) for item in operands)))
        return result


def layers_apart(
    sliced: Sequence[LayerOutput], masked: Sequence[LayerOutput], model: nn.Module, slices: Slices
) -> float:
    """Largest relative difference of a layer's kept channels; 0 where other layers ran, or none can be compared.

    Args:
        sliced: what the small network's layers computed.
        masked: what the masked network's layers computed.
        model: the masked network.
        slices: what the small network keeps.
    """
    if len(sliced) != len(masked):
        return 0.0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    every = {kept.tobytes(): kept for dims in slices.values() for kept in dims.values()}
    apart = 0.0
    for ours, theirs in zip(sliced, masked, strict=True):
        name = names.get(id(theirs.weight))  # a weight that is computed has none: any of the kept indices may be its
        kept = every.values() if name is None else slices.get(name, {}).values()
        apart = max(apart, _apart(ours, theirs, kept))
    return apart


def _apart(sliced: LayerOutput, masked: LayerOutput, kept: Iterable[NDArray[np.int64]]) -> float:
    """Relative difference; of several kept indices that fit, those under which it is the smallest."""
    scale = max(largest(masked.output), CANCELLED * masked.scale)
    if not 0 < scale < inf:
        return 0.0
    smallest: float | None = None
    for part in _parts(masked.output, tuple(sliced.output.shape), kept):
        difference = float((sliced.output - part).abs().max()) / scale if part.numel() else 0.0
        difference = difference if isfinite(difference) else gap(sliced.output, part) / scale
        smallest = min(inf if smallest is None else smallest, difference if isfinite(difference) else inf)
        if smallest < ROUNDING:
            break
    return smallest or 0.0


def _parts(output: Tensor, shape: tuple[int, ...], kept: Iterable[NDArray[np.int64]]) -> Iterator[Tensor]:
    """Parts of a dense output that have the shape of the sliced one."""
    if output.ndim != len(shape):
        return
    differ = [dim for dim, size in enumerate(shape) if output.shape[dim] != size]
    if not differ:
        yield output
    elif len(differ) == 1:
        for indices in kept:
            if len(indices) == shape[differ[0]] and indices[-1] < output.shape[differ[0]]:
                yield output.index_select(differ[0], torch.from_numpy(indices).to(output.device))
