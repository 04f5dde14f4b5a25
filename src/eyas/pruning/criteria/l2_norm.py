"""L2 norm of the filters."""

from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import group_norm_of
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class L2Norm(Criterion):
    """Euclidean norm per filter (He et al. 2018, arXiv:1808.06866, equation 2), summed like the L1 norm.

    Use it to compare with the literature.
    """

    kind: Literal["l2_norm"] = "l2_norm"

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        return group_norm_of(group, model, order=2)
