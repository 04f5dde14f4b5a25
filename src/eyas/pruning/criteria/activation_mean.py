"""How strongly a channel is active."""

from typing import Literal

from torch import Tensor

from eyas.pruning.activations import ChannelMoments
from eyas.pruning.criteria.activation_criterion import ActivationCriterion


class ActivationMean(ActivationCriterion):
    """Mean magnitude of a channel where it is read (Molchanov et al. 2017, arXiv:1611.06440).

    Use it to compare with the literature: what the next layer weighs a channel by does not count (in
    ``weight_activation`` it does), so that it depends on the scale between two layers. Reads no labels.
    """

    kind: Literal["activation_mean"] = "activation_mean"

    def statistic(self, moments: ChannelMoments) -> Tensor:
        """Mean magnitude."""
        return moments.mean()
