"""How far a filter lies from the others of its layer."""

from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import aggregate
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class GeometricMedian(Criterion):
    """Sum of a filter's distances to all filters of its layer (FPGM, He et al. 2019, arXiv:1811.00250).

    Use it where the filters of a layer are of like norms, and no images are at hand: those near the geometric median
    go, which the others can stand in for, and not the small ones.

    ``s_c = sum_j ||W[c] - W[j]||_2`` per layer that makes channels of the group, normalised to mean 1 and summed over
    these layers.
    """

    kind: Literal["geometric_median"] = "geometric_median"

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        return aggregate(group, model, "out", _total_distances)


def _total_distances(weight: "Tensor") -> "Tensor":
    import torch

    rows = weight.flatten(1).double()
    return torch.cdist(rows, rows).sum(1)
