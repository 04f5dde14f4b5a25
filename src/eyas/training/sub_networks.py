"""Narrower networks inside one that is trained: they run on slices of its weights, and gradients reach these.

N images, C channels, H x W pixels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eyas.calibration.batchnorm import evaluation_mode
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.plan import PruningPlan
from eyas.pruning.surgery import prune
from eyas.pruning.tracing.trace import trace
from eyas.training.data_parallel import Processes


class SubNetworks:
    """Nested sub-networks: each keeps the channels of the largest L1 norm, as the weights are at the time.

    Args:
        model: a network; its statistics are not touched by what runs inside.
        images_NCHW: one is enough.
        smallest: share of each group's channels that is kept at least.

    Raises:
        TraceError: the network cannot be captured.
    """

    def __init__(self, model: nn.Module, images_NCHW: Tensor, smallest: float) -> None:
        with evaluation_mode(model):
            self.space = trace(model, (images_NCHW,))
        self._model = model
        self._widths = {group.name: self._allowed(group, smallest) for group in self.space.groups}

    def _allowed(self, group: ChannelGroup, smallest: float) -> list[int]:
        widths: list[int] = self.space.legal_widths(group).tolist()
        return [width for width in widths if width >= smallest * group.channels]

    def smallest(self) -> PruningPlan:
        """The narrowest of them."""
        return self.space.plan({name: widths[0] for name, widths in self._widths.items()})

    def random(self) -> PruningPlan:
        """Any width of each group, drawn by torch's own generator; of several processes, by that of the first."""
        drawn = Processes.running().from_first(
            lambda: {name: int(torch.randint(len(widths), ())) for name, widths in self._widths.items()}
        )
        return self.space.plan({name: self._widths[name][place] for name, place in drawn.items()})

    def answer(self, plan: PruningPlan, images_NCHW: Tensor) -> Any:
        """What the part of ``plan`` answers, in the mode of the whole; its own copy of the statistics moves, if any."""
        part, slices = prune(self._model, self.space, plan), self.space.slices(plan)
        weights = {name: _sliced(weight, slices.get(name, {})) for name, weight in self._model.named_parameters()}
        return functional_call(part, weights, (images_NCHW,))


def _sliced(weight: Tensor, kept: Mapping[int, Any]) -> Tensor:
    for dim, indices in kept.items():
        weight = weight.index_select(dim, torch.from_numpy(indices).to(weight.device))
    return weight
