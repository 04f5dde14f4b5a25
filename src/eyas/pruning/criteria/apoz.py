"""How often a channel is active."""

import logging
from typing import Literal

from torch import Tensor, nn

from eyas.pruning.activations import Activations, ChannelMoments
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.activation_criterion import ActivationCriterion

_log = logging.getLogger(__name__)


class Apoz(ActivationCriterion):
    """Share of positions where a channel is not zero: one minus APoZ (Hu et al. 2016, arXiv:1607.03250).

    Use it to compare with the literature, where ReLU leaves channels at zero in many positions: those go that nearly
    always are. Behind other activations all channels are alike, and the log says so. Reads no labels.
    """

    kind: Literal["apoz"] = "apoz"

    def statistic(self, moments: ChannelMoments) -> Tensor:
        """Share of values that are not zero."""
        return moments.active_share()

    def observe(self, model: nn.Module, data: CalibrationSet) -> Activations:
        """The activations of all layers, in one pass over the images."""
        activations = super().observe(model, data)
        if all((layer.inputs.active_share() == 1).all() for layer in activations.values()):
            _log.warning("criterion apoz: no layer reads a zero, so that all channels are alike; take activation_mean")
        return activations
