"""How well a last layer that is fitted anew agrees with the dense network: needs no labels.

Pruning moves the features, and the last layer that was trained on the old ones reads them badly; fine-tuning mends that
in its first steps. What it cannot mend so soon is what the features lost, so they are judged alone.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from eyas.errors import DataError
from eyas.scoring.ridge import left_out_residuals
from eyas.scoring.scorers.base import Answers, Scorer


class DenseProbe(Scorer):
    r"""Chance that the fitted layer and the dense network, each drawing from its probabilities, name the same class.

    A ridge regression from the candidate's features to the dense network's logits :math:`d`, fitted without the image
    in question, predicts :math:`z`; its goodness is :math:`\sum_k \mathrm{softmax}(z)_k \, \mathrm{softmax}(d)_k`.
    """

    kind: Literal["dense_probe"] = "dense_probe"
    ridge: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the penalty; see :func:`eyas.scoring.ridge.left_out_residuals`."""
    needs_dense: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Agreement on each image, ``(N,)``, between 0 and 1.

        Raises:
            DataError: the network answers per pixel or per token: there is no last linear layer to refit.
        """
        assert answers.dense is not None
        assert answers.features is not None
        if answers.logits.ndim != 2 or answers.features.ndim != 2:
            shapes = f"logits {tuple(answers.logits.shape)}, features {tuple(answers.features.shape)}"
            msg = f"dense_probe judges networks with one answer per image ({shapes}): choose cross_entropy or dense_kl"
            raise DataError(msg)
        dense_NK = answers.dense.double()
        fitted_NK = dense_NK - left_out_residuals(answers.features, dense_NK, self.ridge)
        return (fitted_NK.softmax(1) * dense_NK.softmax(1)).sum(1)
