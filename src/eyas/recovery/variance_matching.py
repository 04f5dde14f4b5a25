"""Each output scaled to the variance it had in the dense network."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from eyas.recovery.base import Recovery
from eyas.recovery.normal_equations import LayerEquations


class VarianceMatching(Recovery):
    r"""Scale every output by :math:`\sqrt{v_{dense} / v_{pruned}}`, shrunk towards 1 (ASR, arXiv:2605.21426).

    How far is chosen on held-out images; a bias takes up the mean. Nearly free. Where batch-norm follows and is
    recalibrated, it changes nothing.

    Use it for networks without batch-norm, where there are too few images, or too little time, for ``least_squares``.
    """

    kind: Literal["variance_matching"] = "variance_matching"
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.25, 0.5, 0.75, 1.0)
    """How far to go, of the way from 1 to the ratio."""

    def __call__(self, layer: LayerEquations) -> Tensor:
        """The change of the weights; see the base for the promise."""
        rows = layer.fit + layer.held_out
        mean_O = layer.weight @ rows.gram[-1] / rows.rows
        variance_O = (layer.weight @ rows.gram * layer.weight).sum(1) / rows.rows - mean_O.square()
        lacking_O = rows.cross[-1] / rows.rows
        shared_O = (layer.weight * rows.cross.T).sum(1) / rows.rows - mean_O * lacking_O
        dense_O = variance_O + 2 * shared_O + rows.squares / rows.rows - lacking_O.square()
        ratio_O = torch.where(variance_O > 0, (dense_O.clamp(min=0) / variance_O).sqrt(), torch.ones_like(dense_O))
        changes = []
        for share in sorted(self.shares):
            gain_O = share * (ratio_O - 1)
            changes.append(layer.weight * gain_O[:, None])
            if layer.has_offset:
                changes[-1][:, -1] = lacking_O - gain_O * mean_O
        best = layer.best(changes)
        return torch.zeros_like(layer.weight) if best is None else changes[best]
