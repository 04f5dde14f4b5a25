"""Cross-entropy with the labels: what :func:`eyas.score` ranks by where there are some."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.data.tasks import IGNORED
from eyas.scoring.scorers.base import Outputs, Scorer, per_labelled_image

if TYPE_CHECKING:
    from torch import Tensor


class CrossEntropy(Scorer):
    r"""Log-likelihood of the label, :math:`\log\,\mathrm{softmax}(z)_y`: minus the cross-entropy in nats.

    Predicts fine-tuned accuracy better than top-1, which it resolves far more finely. No temperature is
    fitted: the scale of the logits is part of the signal.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label: ClassVar[str] = "negative cross-entropy"
    needs_labels: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Log-likelihood of each image's label, per pixel the mean over labelled ones, ``(N,)``; 0 is perfect."""
        from torch.nn import functional

        assert outputs.labels is not None
        losses = functional.cross_entropy(
            outputs.logits.float(), outputs.labels, reduction="none", ignore_index=IGNORED
        )
        return -per_labelled_image(losses, outputs.labels)

    def reference(self, outputs: Outputs) -> list[float]:
        """The label's logit less the logarithm of the sum of exponentials."""
        assert outputs.labels is not None
        rows = zip(outputs.logits.tolist(), outputs.labels.tolist(), strict=True)
        return [logits[label] - math.log(sum(map(math.exp, logits))) for logits, label in rows]
