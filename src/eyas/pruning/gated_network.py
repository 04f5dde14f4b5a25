"""A frozen network whose layers read each channel times a gate: there, where mask parity has its zeros.

Shapes: N images, U units of all groups in order, E entries of a weight that a layer reads channels by, G groups.
"""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_statistics, evaluation_mode
from eyas.errors import DataError
from eyas.pruning.cost import Polynomial
from eyas.pruning.layer_calls import LayerCall, WatchedCalls
from eyas.pruning.surgery import rebuild

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace

Metric = Literal["macs", "params", "activation_bytes"]
"""A cost that the search space knows in closed form."""
Place = tuple[str, int]
"""A weight, and its dimension along which it reads channels."""


class GatedNetwork:
    """A copy of a network in eval mode, without gradients, whose channels can be multiplied by gates as they are read.

    Gates of 0 and 1 answer as the network does that is cut to those that are 1.

    Args:
        model: the dense network; not changed.
        space: its search space, whose units have gates.
    """

    def __init__(self, model: nn.Module, space: "SearchSpace") -> None:
        self._network = rebuild(model, _frozen)
        readers = {(member.parameter, member.dim) for g in space.groups for member in g.members if member.role == "in"}
        self.units = int(space.layout.offsets[-1])
        self.entries = {place: torch.from_numpy(space.layout.slots[place]) for place in sorted(readers)}
        """The unit of each entry, ``(E,)``, -1 for one that stays; of all weights that read any."""
        self.gated: set[Place] = set()
        """Of which of them a call was seen."""

    def __call__(self, images: Tensor, gates: Tensor, *, recalibrated: bool = False) -> Any:
        """What the network answers.

        Args:
            images: normalised floats ``(N, C, H, W)``, on the network's device.
            gates: one per unit ``(U,)``, or of each image ``(N, U)``.
            recalibrated: batch-norm normalises by the statistics of these images, where there are two or more.

        Raises:
            DataError: gates are of each image, and a layer does not read one row per image.
        """
        padded = torch.cat([gates, gates.new_ones(*gates.shape[:-1], 1)], -1)

        def read(call: LayerCall) -> Tensor:
            entries = self.entries.get(_place(call))
            if entries is None:
                return call()
            self.gated.add(_place(call))
            return replace(call, input=call.input * _along_channels(call, padded[..., entries]))()

        mode = batch_statistics if recalibrated and len(images) > 1 else evaluation_mode
        with mode(self._network), WatchedCalls(self._network, read):
            return self._network(images)

    @torch.no_grad()
    def strengths(self, images: Tensor) -> Tensor:
        """Mean magnitude of each unit in the dense network, where it is read, of each image: ``(N, U)``.

        Raises:
            DataError: a layer does not read one row per image.
        """
        total_NU = torch.zeros(len(images), self.units + 1, dtype=torch.float64)
        count_U = torch.zeros(self.units + 1, dtype=torch.float64)

        def read(call: LayerCall) -> Tensor:
            entries = self.entries.get(_place(call))
            if entries is not None:
                _require_rows(call, len(images))
                magnitude_NC = call.input.abs().movedim(call.channel_dim(call.input), 1)
                magnitude_NC = magnitude_NC.reshape(*magnitude_NC.shape[:2], -1).mean(2)
                places = entries.repeat(magnitude_NC.shape[1] // len(entries)) % len(count_U)
                total_NU.index_add_(1, places, magnitude_NC.cpu().double())
                count_U.index_add_(0, places, torch.ones(len(places), dtype=torch.float64))
            return call()

        with evaluation_mode(self._network), WatchedCalls(self._network, read):
            self._network(images)
        return (total_NU / count_U.clamp(min=1))[:, :-1]


def macs_share(space: "SearchSpace", gates: Tensor) -> Tensor:
    """Multiply-accumulates over those of the dense network: see :func:`cost_share`."""
    return cost_share(space, gates, "macs")


def cost_share(space: "SearchSpace", gates: Tensor, metric: Metric) -> Tensor:
    """A cost over that of the dense network, as a differentiable function of gates ``(U,)``.

    Exact where gates are 0 or 1, with one at least of every group that stays: the closed form of the cost model.
    """
    costs, offsets = space.cost_model, space.layout.offsets.tolist()
    units_G = torch.stack([gates[start:stop].sum() for start, stop in pairwise(offsets)])
    if costs.switches:
        units_G = torch.cat([units_G, (units_G[list(costs.switches)] > 0).to(units_G)])
    forms_L = units_G @ torch.from_numpy(costs.slope).to(units_G) + torch.from_numpy(costs.base).to(units_G)
    polynomial: Polynomial = getattr(costs, metric)
    terms_T = forms_L[torch.from_numpy(polynomial.index)].prod(1)
    total = torch.from_numpy(polynomial.coefficients).to(units_G) @ terms_T / polynomial.divisor
    dense: int = getattr(space.cost(), metric)
    return total / dense


def _frozen(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, requires_grad=False) if isinstance(tensor, nn.Parameter) else copied


def _place(call: LayerCall) -> Place:
    return call.name, 0 if call.is_transposed else 1


def _along_channels(call: LayerCall, gates: Tensor) -> Tensor:
    """Gates ``(E,)`` or ``(N, E)`` in a shape that multiplies the input; groups of a convolution read alike."""
    channel = call.channel_dim(call.input)
    times = call.input.shape[channel] // gates.shape[-1]
    rows = gates.shape[:-1]
    if rows:
        _require_rows(call, *rows)
    repeated = gates.to(call.input).repeat(*[1] * len(rows), times)
    return repeated.reshape(*rows, *[1] * (channel - len(rows)), -1, *[1] * (call.input.ndim - channel - 1))


def _require_rows(call: LayerCall, images: int) -> None:
    if call.input.shape[0] != images or not call.channel_dim(call.input):
        msg = (
            f"{call.name} reads shape {tuple(call.input.shape)} for {images} images, so that no channel has a gate of "
            "each image: take a criterion with one gate per channel, gumbel_gates"
        )
        raise DataError(msg)
