"""How much the answers move with a filter's weights."""

from collections import defaultdict
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.loss_gradients import PerEntry, answer_gradients, each_dim, sum_over_members
from eyas.pruning.criteria.norms import channels_first, per_channel
from eyas.pruning.groups import ChannelGroup


class Lfh(ImageCriterion):
    r"""Label-free Hessian: how much the answers move with a filter's weights, times their mean square (Sony's MCT).

    Use it where answers are no classes (boxes, values): no labels, no softmax. A pass back per batch and probe;
    ratings compare between layers.

    :math:`s_c = \mathrm{tr}(H_c)\, \|w_c\|^2 / |w_c|` per filter, summed over the layers that make the channel, where
    H is the Hessian of the squared distance from the dense network's answers, that is :math:`J^T J`; its trace is
    estimated by probes of random signs (Hutchinson 1990): :math:`E \|J_c^T v\|^2`.
    """

    kind: Literal["lfh"] = "lfh"
    probes: Annotated[int, Field(ge=1, le=1000)] = 4
    """Random signs per batch of images."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images per probe."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the signs."""

    def observe(self, model: nn.Module, data: CalibrationSet) -> PerEntry:
        """The trace per image, summed per channel of each parameter."""
        generator = torch.Generator().manual_seed(self.seed)

        def probe(answers: Tensor, _: slice) -> Tensor:
            signs = torch.randint(0, 2, answers.shape, generator=generator) * 2 - 1
            return (answers * signs.to(answers)).sum()

        traces: PerEntry = defaultdict(lambda: torch.zeros(()))
        for _ in range(self.probes):
            for batch in answer_gradients(model, data, probe, batch_size=self.batch_size):
                for place, total in each_dim({name: grad.square() for name, grad in batch.items()}):
                    traces[place] = traces[place] + total / (self.probes * len(data.images))
        return dict(traces)

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave."""
        traces, makers = self.prepare(model, data), [member for member in group.members if member.role == "out"]
        rises = {}
        for member in makers:
            place = member.parameter, member.dim
            if place in traces:
                rises[place] = traces[place] * channels_first(model, member).flatten(1).square().mean(1).cpu().double()
        return per_channel(group, [sum_over_members(group, makers, rises)])
