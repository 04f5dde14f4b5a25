"""The dense network's weights seen channel by channel, changed, and cut to what a plan keeps.

U units (channels, or sets of them) of a group, K of them kept; F numbers that make a unit, or that read it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from eyas.pruning.groups import ChannelGroup, Member, Role

if TYPE_CHECKING:
    from eyas.pruning.plan import PruningPlan
    from eyas.pruning.space import SearchSpace
    from eyas.recovery.base import Recovery


def transfer(
    recovery: "Recovery", model: nn.Module, small: nn.Module, space: "SearchSpace", plan: "PruningPlan"
) -> None:
    """Give a pruned network, in place, what ``recovery`` makes of the dense one's weights; statistics stay."""
    weights = WeightTransfer(model, space, plan)
    recovery.transfer(weights)
    weights.write(small)


@dataclass
class WeightTransfer:
    """Weights of the dense network that are on their way into a pruned one."""

    model: nn.Module
    space: "SearchSpace"
    plan: "PruningPlan"
    changed: dict[str, Tensor] = field(default_factory=dict)
    """Copies in dense shape, by name."""

    def __post_init__(self) -> None:
        self._slices = self.space.slices(self.plan)
        self._dense = {name: weight.detach() for name, weight in self.model.named_parameters()}

    def narrowed(self) -> Iterator[tuple[ChannelGroup, Tensor]]:
        """Groups that lose units, each with which are kept, ``(U,)``.

        Not those with grouped convolutions, whose filters read a channel of their own.
        """
        for group in self.space.groups:
            makers = [member for member in self.members(group, "out") if member.dim in self._slices[member.parameter]]
            if makers and not any(self._is_grouped(member) for member in makers):
                first = makers[0]
                kept_U = np.isin(first.positions[:, 0], self._slices[first.parameter][first.dim])
                yield group, torch.from_numpy(kept_U)

    def members(self, group: ChannelGroup, role: Role) -> list[Member]:
        """Parameters with this role that the plan makes smaller."""
        return [member for member in group.members if member.role == role and member.parameter in self._slices]

    def rows(self, member: Member) -> Tensor:
        """What belongs to each unit of the dense weight, ``(U, F)`` in float64."""
        return self._rows(self._dense[member.parameter], member).double()

    def add(self, member: Member, change_UF: Tensor) -> None:
        """Change what belongs to each unit."""
        name, places = member.parameter, torch.from_numpy(member.positions.flatten())
        weight = self.changed.setdefault(name, self._dense[name].clone())
        along = weight.movedim(member.dim, 0)
        change = change_UF.reshape(len(places), *along.shape[1:]).to(weight)
        along.index_add_(0, places.to(weight.device), change)

    @torch.no_grad()
    def write(self, small: nn.Module) -> None:
        """Put what the plan keeps of the changed weights into the pruned network."""
        narrow = dict(small.named_parameters())
        for name, weight in self.changed.items():
            for dim, kept in self._slices[name].items():
                weight = weight.index_select(dim, torch.from_numpy(kept).to(weight.device))  # noqa: PLW2901
            narrow[name].copy_(weight)

    @staticmethod
    def _rows(weight: Tensor, member: Member) -> Tensor:
        places = torch.from_numpy(member.positions.flatten()).to(weight.device)
        return weight.movedim(member.dim, 0)[places].reshape(len(member.positions), -1)

    def _is_grouped(self, member: Member) -> bool:
        return getattr(self.model.get_submodule(member.parameter.rpartition(".")[0]), "groups", 1) > 1
