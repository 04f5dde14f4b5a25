"""Positions of a layer's output that count: what the dense layer makes there, and what another layer reads for them.

Shapes: R rows, one per position of one image; F features, what one position reads; O outputs; D dimensions of a kernel
with K entries; C channels.
"""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from eyas.pruning.layer_calls import LayerCall

FEWEST_ROWS = 2048
"""So many positions of each output count at least, where there are so many."""


@dataclass(frozen=True)
class SampledOutputs:
    """Outputs of one call at evenly drawn positions."""

    values: Tensor
    """``(R, O)``."""
    places: tuple[Tensor, ...]
    """Index of each row along every dimension of the output but that of the channels; images first."""
    fitted: int
    """So many rows, the first, are of images to fit; the others judge."""

    @classmethod
    def of(cls, call: LayerCall, output: Tensor, *, rows_per_feature: int, held_out: float) -> Self:
        """Draw from what ``call`` made: ``rows_per_feature`` positions for each number that one output reads."""
        output = channels_last(call, output.detach())
        shape = output.shape[:-1]
        limit = max(FEWEST_ROWS, rows_per_feature * weight_matrix(call, call.weight).shape[1])
        chosen_R = _drawn_evenly(shape.numel(), limit).to(output.device)
        places = torch.unravel_index(chosen_R, shape)
        return cls(output[places], places, int((places[0] < first_held_out(shape[0], held_out)).sum()))

    def kept(self, outputs: Tensor | None) -> Self:
        """The same of some outputs only; of all for None."""
        if outputs is None:
            return self
        return type(self)(self.values[:, outputs.to(self.values.device)], self.places, self.fitted)

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        places = tuple(index_R.to(device) for index_R in self.places)
        return type(self)(self.values.to(device), places, self.fitted)


def first_held_out(images: int, held_out: float) -> int:
    """Of so many images in order the first that judges: one judges at least, and one is fitted where there are two."""
    return min(max(1, round(images * (1 - held_out))), images - 1)


def features_at(call: LayerCall, places: tuple[Tensor, ...]) -> Tensor:
    """What a call reads for the outputs at ``places``, ``(R, F)``, in the order of :func:`weight_matrix`."""
    inputs = channels_last(call, call.input.detach())
    if not call.is_convolution:
        return inputs[places]
    stride, dilation, padding = _geometry(call)
    ranges = [torch.arange(size, device=inputs.device) for size in call.weight.shape[2:]]
    offset_KD = torch.cartesian_prod(*ranges).reshape(-1, len(ranges)) * dilation
    place_RD = torch.stack(places[1:], 1)
    if call.is_transposed:
        scaled_RKD = place_RD[:, None] + padding - offset_KD
        source_RKD, is_read_RKD = scaled_RKD // stride, scaled_RKD % stride == 0
    else:
        source_RKD = place_RD[:, None] * stride - padding + offset_KD
        is_read_RKD = torch.ones_like(source_RKD, dtype=torch.bool)
    size_D = torch.tensor(inputs.shape[1:-1], device=inputs.device)
    is_read_RKD &= (source_RKD >= 0) & (source_RKD < size_D)
    index_D = source_RKD.clamp(min=torch.zeros_like(size_D), max=size_D - 1).unbind(-1)
    read_RKC = inputs[places[0][:, None], *index_D]
    return read_RKC.mul_(is_read_RKD.all(-1, keepdim=True)).flatten(1)


def weight_matrix(call: LayerCall, weight: Tensor) -> Tensor:
    """A weight of the layer as ``(O, F)``: entries of the kernel, and of each the channels."""
    weight = _outputs_first(call, weight)
    return weight.flatten(2).transpose(1, 2).flatten(1) if weight.ndim > 2 else weight


def write_weight(call: LayerCall, weight_OF: Tensor) -> None:
    """Put what :func:`weight_matrix` gives into the layer's weight."""
    target = _outputs_first(call, call.weight.data)
    if target.ndim > 2:
        weight_OF = weight_OF.reshape(len(target), -1, target.shape[1]).transpose(1, 2)
    target.copy_(weight_OF.reshape(target.shape))


def channels_last(call: LayerCall, tensor: Tensor) -> Tensor:
    """An input or output with its channels last; images first, also where one comes alone."""
    channel = call.channel_dim(tensor)
    return tensor.movedim(channel, -1) if channel or not call.is_convolution else tensor[None].movedim(1, -1)


def _outputs_first(call: LayerCall, weight: Tensor) -> Tensor:
    return weight.transpose(0, 1) if call.is_transposed else weight


def _geometry(call: LayerCall) -> tuple[Tensor, Tensor, Tensor]:
    """Stride, dilation and padding (before the first entry) of a convolution, ``(D,)`` each."""
    kernel = call.weight.shape[2:]

    def spread(value: Any) -> Tensor:
        sizes = [value] * len(kernel) if isinstance(value, int) else list(value)
        return torch.tensor(sizes * (len(kernel) // len(sizes)), device=call.input.device)

    stride, dilation = (spread(call.arguments.get(name, 1)) for name in ("stride", "dilation"))
    padding = call.arguments.get("padding", 0)
    if padding == "same":
        return stride, dilation, dilation * (spread(kernel) - 1) // 2
    return stride, dilation, spread(0 if padding == "valid" else padding)


def _drawn_evenly(rows: int, limit: int) -> Tensor:
    """Ascending numbers of at most ``limit`` of so many rows: one of each of equal stretches, by a fixed seed."""
    if rows <= limit:
        return torch.arange(rows)
    edges = torch.linspace(0, rows, limit + 1, dtype=torch.float64)
    offset = torch.rand(limit, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (edges[:-1] + offset * edges.diff()).long().clamp(max=rows - 1)
