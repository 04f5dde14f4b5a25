"""Squared distance to the dense network's logits: needs no labels."""

from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.scoring.scorers.base import Outputs, Scorer, per_image

if TYPE_CHECKING:
    from torch import Tensor


class DenseMSE(Scorer):
    r"""Minus :math:`\sum_k (z_k - z_{\mathrm{dense},k})^2`."""

    kind: Literal["dense_mse"] = "dense_mse"
    label: ClassVar[str] = "negative distance to dense logits"
    needs_dense: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Minus the squared distance for each image, ``(N,)``; 0 is perfect."""
        assert outputs.dense is not None
        return -per_image((outputs.logits.float() - outputs.dense.float()).square().sum(1))

    def reference(self, outputs: Outputs) -> list[float]:
        """Summed class by class."""
        assert outputs.dense is not None
        rows = zip(outputs.logits.tolist(), outputs.dense.tolist(), strict=True)
        return [-sum((z - d) ** 2 for z, d in zip(*row, strict=True)) for row in rows]
