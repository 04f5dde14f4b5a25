"""How often a channel is active."""

from typing import Literal

from torch import Tensor

from eyas.pruning.activations import ChannelMoments
from eyas.pruning.criteria.activation_criterion import ActivationCriterion


class Apoz(ActivationCriterion):
    """Share of positions where a channel is not zero: one minus APoZ (Hu et al. 2016, arXiv:1607.03250).

    Use it to compare with the literature, where ReLU leaves channels at zero in many positions: those go that nearly
    always are. Behind other activations all channels are alike, and the log says so. Reads no labels.
    """

    kind: Literal["apoz"] = "apoz"

    def statistic(self, moments: ChannelMoments) -> Tensor:
        """Share of values that are not zero."""
        return moments.active_share()
