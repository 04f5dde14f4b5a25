"""L1 norm of the filters."""

from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import group_norm_of
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class L1Norm(Criterion):
    """Sum of absolute weights per filter (Li et al. 2017, arXiv:1608.08710, section 3.1).

    Use it to compare with the literature, or without images.

    ``s_c = sum_l ||W_l[c]||_1 / mean_c' ||W_l[c']||_1`` over all layers l that make channels of the group,
    so that no layer of a coupled group decides alone.
    """

    kind: Literal["l1_norm"] = "l1_norm"

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        return group_norm_of(group, model, order=1)
