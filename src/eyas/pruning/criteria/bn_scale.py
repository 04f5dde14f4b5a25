"""Scale of the batch-norm that follows."""

from typing import TYPE_CHECKING, Any, Literal

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import aggregate, group_norm_of
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn


class BnScale(Criterion):
    """Absolute batch-norm scale ``|gamma|`` (Liu et al. 2017, arXiv:1708.06519, section 3).

    Use it after a training that shrank the scales; those of another say little.

    Summed over all normalisations of a coupled group, each normalised to mean 1; a group without a
    normalisation is rated by the L1 norm of its filters.
    """

    kind: Literal["bn_scale"] = "bn_scale"

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        if not any(member.role == "scale" for member in group.members):
            return group_norm_of(group, model, order=1)
        return aggregate(group, model, "scale", lambda scale: scale.reshape(len(scale), -1).abs().sum(1))
