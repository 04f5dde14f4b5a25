"""How well a last layer that is fitted anew agrees with the dense network: needs no labels.

Pruning moves the features, and the last layer that was trained on the old ones reads them badly; fine-tuning mends that
in its first steps. What it cannot mend so soon is what the features lost, so they are judged alone.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from eyas.errors import DataError
from eyas.scoring.scorers.base import Outputs, Scorer

if TYPE_CHECKING:
    from torch import Tensor


class DenseProbe(Scorer):
    r"""Chance that the fitted layer and the dense network, each drawing from its probabilities, name the same class.

    A ridge regression from the candidate's features to the dense network's logits :math:`d`, fitted without the image
    in question, predicts :math:`z`; its score is :math:`\sum_k \mathrm{softmax}(z)_k \, \mathrm{softmax}(d)_k`.
    """

    kind: Literal["dense_probe"] = "dense_probe"
    ridge: Annotated[float, Field(gt=0)] = 0.1
    """Strength of the penalty; see :func:`eyas.scoring.ridge.left_out_residuals`."""
    label: ClassVar[str] = "agreement of a refitted last layer"
    is_share: ClassVar[bool] = True
    needs_dense: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Agreement on each image, ``(N,)``, between 0 and 1.

        Raises:
            DataError: the network answers per pixel or per token: there is no last linear layer to refit.
        """
        from eyas.scoring.ridge import left_out_residuals

        assert outputs.dense is not None
        assert outputs.features is not None
        if outputs.logits.ndim != 2 or outputs.features.ndim != 2:
            shapes = f"logits {tuple(outputs.logits.shape)}, features {tuple(outputs.features.shape)}"
            msg = f"dense_probe judges networks with one answer per image ({shapes}): choose cross_entropy or dense_kl"
            raise DataError(msg)
        dense_NK = outputs.dense.double()
        fitted_NK = dense_NK - left_out_residuals(outputs.features, dense_NK, self.ridge)
        return (fitted_NK.softmax(1) * dense_NK.softmax(1)).sum(1)

    def reference(self, outputs: Outputs) -> list[float]:
        """One fit per image, of all others: least squares about their means, the ridge as extra rows."""
        assert outputs.dense is not None
        assert outputs.features is not None
        features, dense = outputs.features.double().numpy(), outputs.dense.double().numpy()
        count, width = features.shape
        penalty = self.ridge * np.square(features - features.mean(0)).sum() / width
        scores = []
        for left_out in range(count):
            others = np.arange(count) != left_out
            mean, target = features[others].mean(0), dense[others].mean(0)
            rows = np.vstack([features[others] - mean, np.sqrt(penalty) * np.eye(width)])
            targets = np.vstack([dense[others] - target, np.zeros((width, dense.shape[1]))])
            weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
            fitted = target + (features[left_out] - mean) @ weights
            scores.append(float(_softmax(fitted) @ _softmax(dense[left_out])))
        return scores


def _softmax(logits: Any) -> Any:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()
