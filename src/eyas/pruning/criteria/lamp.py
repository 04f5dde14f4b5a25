"""The magnitude of a filter as a share of what would be left of its layer."""

from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import aggregate
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class Lamp(Criterion):
    r"""Squared norm of a filter over that of all filters of its layer no smaller (LAMP, arXiv:2010.07611).

    Use it where ratings are compared between layers: the largest filter of any has 1, whatever the layer's scale.
    Within one layer the order is that of ``l2_norm``. Reads no images.

    Lee et al. 2021 rate single weights so; here a filter is the unit. Where several layers make a channel, the sum of
    :math:`\|W_c\|^2 / \sum_{j: \|W_j\| \ge \|W_c\|} \|W_j\|^2` over these decides.
    """

    kind: Literal["lamp"] = "lamp"

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        return aggregate(group, model, "out", _squared_norms, normalise=_share_of_those_left)


def _squared_norms(weight: "Tensor") -> "Tensor":
    return weight.flatten(1).double().square().sum(1)


def _share_of_those_left(square_U: "Tensor") -> "Tensor":
    """Each over the sum of those at least as large; zeros stay."""
    import torch

    left_U = torch.where(square_U >= square_U[:, None], square_U, 0).sum(1)
    return torch.where(left_U > 0, square_U / left_U, left_U)
