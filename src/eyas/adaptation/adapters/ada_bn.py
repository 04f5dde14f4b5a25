"""All statistics replaced by those of the field."""

from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.adaptation.adapters.base import Adapter

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eyas.adaptation.adapters.adaptation import Adaptation


class AdaBn(Adapter):
    """Batch-norm statistics of the field's images instead of the training's (Li et al. 2016, arXiv:1603.04779).

    Mean and variance are pooled over all images so far, each layer behind layers that are corrected already.

    Use it first: no gradients, the result folds, and with the revert rule it never lost more than a point
    (docs/adaptation.md). With fewer than 100 images ``alpha_bn`` keeps part of what the network knew. On a stream that
    is sorted by class it loses much.
    """

    kind: Literal["ada_bn"] = "ada_bn"
    min_batch: ClassVar[int] = 2

    def start(self, model: "nn.Module", source: "Tensor | None") -> "Adaptation":
        """See the base for the promise."""
        from eyas.adaptation.adapters.layer_statistics import PooledAdaptation

        return PooledAdaptation(self, model)
