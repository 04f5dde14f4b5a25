"""No adaptation: what every other adapter is held against."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter


class NoAdaptation(Adapter):
    """The network as it is; every image is answered, none is learnt from.

    Use it as the result to beat: batch-norm adaptation is not safe by default.
    """

    kind: Literal["none"] = "none"
    assumes_iid: ClassVar[bool] = False

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        return _Unchanged(self, model)


class _Unchanged(Adaptation):
    @torch.no_grad()
    def step(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits
