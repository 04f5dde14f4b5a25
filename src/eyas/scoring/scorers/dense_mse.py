"""Squared distance to the dense network's logits: needs no labels."""

from typing import ClassVar, Literal

from torch import Tensor

from eyas.scoring.scorers.base import Answers, Scorer, per_image


class DenseMSE(Scorer):
    r"""Minus :math:`\sum_k (z_k - z_{\mathrm{dense},k})^2`."""

    kind: Literal["dense_mse"] = "dense_mse"
    needs_dense: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Minus the squared distance for each image, ``(N,)``; 0 is perfect."""
        assert answers.dense is not None
        return -per_image((answers.logits.float() - answers.dense.float()).square().sum(1))
