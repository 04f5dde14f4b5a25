"""How much of a channel the others cannot make up for."""

from collections import defaultdict
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.pruning.activations import watch_layers
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.norms import channels_first, per_channel
from eyas.pruning.groups import ChannelGroup, Member
from eyas.pruning.layer_calls import LayerCall

_BATCH = 64


class LinearDependence(ImageCriterion):
    r"""What a channel adds to those chosen before it, by pivoted QR of what is read (LinDeps, arXiv:2507.21573).

    Use it where channels repeat one another, before a refit: least squares takes from the channels that are left what
    the readers lost, and what depends on them linearly costs nothing. One pass over few images; reads no labels. On
    ResNet-20, refitted and trained, it was level with ``weight_activation`` at half of the MACs and 0.9 points behind
    at a quarter.

    The next channel is the one of which most is left, :math:`s_c = \|x_c - P x_c\|`, P the projection onto the channels
    before it; readers are normalised to the same mean energy. A group that nothing reads by weights is rated by
    ``group_norm``.
    """

    kind: Literal["linear_dependence"] = "linear_dependence"
    images: Annotated[int, Field(ge=1)] = 128
    """At most so many calibration images."""
    positions: Annotated[int, Field(ge=2)] = 4096
    """Of each layer's input at most about so many positions are looked at."""
    weighted: bool = True
    """Each channel as strong as its readers weigh it; else as it is, as the paper has it."""
    centred: bool = True
    """About its mean, which a bias or recalibrated statistics make up for."""

    def observe(self, model: nn.Module, data: CalibrationSet) -> dict[str, Tensor]:
        """Inputs of all layers at positions drawn evenly, ``(rows, channels)``, in one pass over the images."""
        rows: dict[str, list[Tensor]] = defaultdict(list)
        generator = torch.Generator().manual_seed(0)
        batches = -(-len(data.images) // _BATCH)

        def record(call: LayerCall) -> Tensor:
            input_RC = call.input.detach().movedim(call.channel_dim(call.input), -1).flatten(0, -2)
            chosen_R = torch.randperm(len(input_RC), generator=generator)[: -(-self.positions // batches)]
            rows[call.name].append(input_RC[chosen_R.to(input_RC.device)].cpu())
            return call()

        watch_layers(model, data.images, record, batch_size=_BATCH)
        return {name: torch.cat(parts) for name, parts in rows.items()}

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave."""
        rows = self.prepare(model, data)
        readers = [member for member in group.members if member.role == "in" and member.parameter in rows]
        if not readers:
            return GroupNorm()(group, model)
        grams = (self._gram(model, member, rows[member.parameter]) for member in readers)
        return per_channel(group, [pivoted_norms(sum(grams, torch.zeros(group.units, group.units)))])

    def _gram(self, model: nn.Module, member: Member, input_RC: Tensor) -> Tensor:
        """Inner products of the units as one layer reads them, ``(U, U)``, of mean energy 1."""
        positions_UE = torch.from_numpy(member.positions)
        read_RUE = input_RC[:, positions_UE].double()
        if self.centred:
            read_RUE = read_RUE - read_RUE.mean(0)
        if self.weighted:
            read_RUE = read_RUE * channels_first(model, member).cpu().double().flatten(1).norm(dim=1)[positions_UE]
        read_RU = read_RUE.transpose(1, 2).flatten(0, 1)
        gram_UU = read_RU.T @ read_RU
        return gram_UU / gram_UU.trace().clamp(min=torch.finfo(torch.float64).tiny) * len(gram_UU)


def pivoted_norms(gram_UU: Tensor) -> Tensor:
    """Norm of each column's remainder when its turn comes, the largest always next: the diagonal of R, ``(U,)``.

    From the Gram matrix, by Cholesky with pivots; what is left within rounding is zero.
    """
    remainder_U, norms_U = gram_UU.diagonal().clone(), torch.zeros(len(gram_UU), dtype=torch.float64)
    smallest = len(gram_UU) * torch.finfo(torch.float64).eps * float(remainder_U.max())
    factor_UU, waiting_U = torch.zeros_like(gram_UU), torch.ones(len(gram_UU), dtype=torch.bool)
    for turn in range(len(gram_UU)):
        pivot = int(torch.where(waiting_U, remainder_U, -1).argmax())
        if remainder_U[pivot] <= smallest:
            break
        norms_U[pivot], waiting_U[pivot] = remainder_U[pivot].sqrt(), False
        explained_U = factor_UU[:, :turn] @ factor_UU[pivot, :turn]
        factor_UU[:, turn] = (gram_UU[:, pivot] - explained_U) / norms_U[pivot]
        remainder_U -= factor_UU[:, turn].square()
    return norms_U
