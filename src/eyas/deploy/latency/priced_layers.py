"""The layers of a search space whose time depends on widths: what each computes, and which groups set its widths.

Shapes: n candidates, G groups.
"""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyas.calibration.batchnorm import evaluation_mode
from eyas.pruning.layer_calls import LayerCall, WatchedCalls
from eyas.pruning.space import SearchSpace

Ints = NDArray[np.int64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerShape:
    """A layer without its widths; equal ones share their times."""

    kind: str
    """``conv`` or ``conv_transpose`` and the number of dimensions of space; ``linear``."""
    size: tuple[int, ...]
    """Of the input: height and width; rows per image of a linear layer."""
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    """Before each dimension, then behind each."""
    dilation: tuple[int, ...] = ()
    output_pads: tuple[int, ...] = ()
    per_group: tuple[int, int] | None = None
    """Of a grouped convolution: channels per group along the first and second dimension of its weight."""

    def __str__(self) -> str:
        """In one line; tells each from every other."""
        if not self.kernel:
            return f"linear on {_by(self.size)}"
        groups = f" groups of {_by(self.per_group)}" if self.per_group else ""
        more = f" and {_by(self.output_pads)}" if any(self.output_pads) else ""
        how = f"stride {_by(self.stride)} pads {_by(self.pads)}{more} dilation {_by(self.dilation)}"
        return f"{self.kind} {_by(self.kernel)} on {_by(self.size)} {how}{groups}"


@dataclass(frozen=True)
class WidthForm:
    """Channels along one dimension of a weight: ``base + units @ slope`` of the kept units per group."""

    base: int
    slope: tuple[int, ...]
    """``(G,)``."""

    def __call__(self, units_nG: Ints) -> Ints:
        """Of each candidate, ``(n,)``."""
        widths: Ints = self.base + units_nG @ np.array(self.slope, dtype=np.int64)
        return widths

    def reachable(self, units_G: Ints) -> Ints:
        """All widths that may occur, ascending; the last is the dense one.

        Args:
            units_G: dense units of every group.
        """
        dense = int(units_G @ np.array(self.slope, dtype=np.int64))
        return np.arange(self.base + sum(self.slope), self.base + dense + 1, math.gcd(*self.slope) or 1)


@dataclass(frozen=True)
class PricedLayer:
    """One call of a convolution or linear layer."""

    name: str
    """Of its weight."""
    shape: LayerShape
    inputs: WidthForm
    """Input channels; of one group, where the layer has groups."""
    outputs: WidthForm
    """Output channels; input channels of a transposed convolution that has groups."""


def priced_layers(space: SearchSpace) -> tuple[PricedLayer, ...]:
    """Every call of a forward pass, in order of execution; runs the network once on its example inputs.

    Layers whose weights the code computes are left out, and named in a warning.
    """
    layers: list[PricedLayer] = []
    args, kwargs = space.example
    images = next((int(item.shape[0]) for item in args if isinstance(item, Tensor) and item.ndim), 1)

    def note(call: LayerCall) -> Tensor:
        if call.is_convolution or call.weight.ndim == 2:
            layers.append(_layer(space, call, images))
        return call()

    with evaluation_mode(space.model), torch.no_grad(), WatchedCalls(space.model, note):
        space.model(*args, **kwargs)
    priced = {layer.name for layer in layers}
    makers = {m.parameter: group for group in space.groups for m in group.members if m.role in ("out", "in")}
    missing = sorted(name for name in makers if name not in priced and len(space.layout.shapes[name]) > 1)
    if missing:
        log.warning("no latency is known of layers whose weights the code computes: %s", ", ".join(missing))
    return tuple(layers)


def network_key(space: SearchSpace, layers: Sequence[PricedLayer]) -> str:
    """Equal for networks that take equal times at equal widths: of one architecture, at one image size."""
    lines = [space.fingerprint, *(f"{layer.name} {layer.shape}" for layer in layers)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _layer(space: SearchSpace, call: LayerCall, images: int) -> PricedLayer:
    shape, first, second = _shape(call, images), _form(space, call, 0), _form(space, call, 1)
    if shape.per_group:
        inputs = WidthForm(call.weight.shape[1], (0,) * len(space.groups))
        return PricedLayer(call.name, shape, inputs, first)
    return PricedLayer(call.name, shape, *((first, second) if call.is_transposed else (second, first)))


def _form(space: SearchSpace, call: LayerCall, dim: int) -> WidthForm:
    """The kept entries along a dimension of a weight."""
    slope = np.zeros(len(space.groups), dtype=np.int64)
    units = space.layout.slots.get((call.name, dim))
    if units is None:
        return WidthForm(call.weight.shape[dim], tuple(slope.tolist()))
    kept, counts = np.unique(units[units >= 0], return_counts=True)
    slope[np.searchsorted(space.layout.offsets, kept, side="right") - 1] = counts  # equal for the units of a group
    return WidthForm(int((units < 0).sum()), tuple(slope.tolist()))


def _shape(call: LayerCall, images: int) -> LayerShape:
    if not call.is_convolution:
        return LayerShape("linear", (max(1, math.prod(call.input.shape[:-1]) // images),))
    dims, arguments = call.weight.ndim - 2, call.arguments
    kernel = tuple(call.weight.shape[2:])
    stride, dilation, extra = (
        _each(arguments.get(name, default), dims)
        for name, default in (("stride", 1), ("dilation", 1), ("output_padding", 0))
    )
    groups = int(arguments.get("groups", 1))
    return LayerShape(
        kind=call.function.__name__.removesuffix(f"{dims}d") + f"{dims}d",
        size=tuple(call.input.shape[call.channel_dim(call.input) + 1 :]),
        kernel=kernel,
        stride=stride,
        pads=_pads(arguments.get("padding", 0), kernel, dilation),
        dilation=dilation,
        output_pads=extra,
        per_group=(call.weight.shape[0] // groups, call.weight.shape[1]) if groups > 1 else None,
    )


def _pads(padding: int | str | Sequence[int], kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """``"same"`` and ``"valid"`` in numbers; what is odd goes behind."""
    if isinstance(padding, str):
        whole = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        return (*(pad // 2 for pad in whole), *(pad - pad // 2 for pad in whole))
    return _each(padding, len(kernel)) * 2


def _each(value: int | Sequence[int], dims: int) -> tuple[int, ...]:
    """One number per dimension."""
    numbers = (value,) if isinstance(value, int) else tuple(value)
    return tuple(map(int, numbers)) * (dims if len(numbers) == 1 else 1)


def _by(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))
