"""Cross-entropy with the labels: the default."""

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from eyas.scoring.scorers.base import Answers, Scorer, per_image


class CrossEntropy(Scorer):
    r"""Log-likelihood of the label, :math:`\log\,\mathrm{softmax}(z)_y`: minus the cross-entropy in nats.

    Predicts fine-tuned accuracy better than top-1, which it resolves far more finely. No temperature is
    fitted: the scale of the logits is part of the signal.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Log-likelihood of each image's label, ``(N,)``; 0 is perfect."""
        assert answers.labels is not None
        return -per_image(functional.cross_entropy(answers.logits.float(), answers.labels, reduction="none"))
