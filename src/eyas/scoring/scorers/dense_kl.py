"""Kullback-Leibler divergence from the dense network's answer: needs no labels."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

from eyas.scoring.scorers.base import Outputs, Scorer, per_image

if TYPE_CHECKING:
    from torch import Tensor


class DenseKL(Scorer):
    r"""Minus :math:`\mathrm{KL}(q \,\|\, p) = \sum_k q_k (\log q_k - \log p_k)`, q dense, in nats."""

    kind: Literal["dense_kl"] = "dense_kl"
    label: ClassVar[str] = "negative KL to dense outputs"
    needs_dense: ClassVar[bool] = True

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Minus the divergence for each image, ``(N,)``; 0 is perfect."""
        from torch.nn import functional

        assert outputs.dense is not None
        log_p, log_dense = (
            functional.log_softmax(outputs.logits.float(), 1),
            functional.log_softmax(outputs.dense.float(), 1),
        )
        return -per_image((log_dense.exp() * (log_dense - log_p)).sum(1))

    def reference(self, outputs: Outputs) -> list[float]:
        """By probabilities, where the scorer works with their logarithms."""
        assert outputs.dense is not None
        rows = zip(outputs.logits.tolist(), outputs.dense.tolist(), strict=True)
        pairs = [(_softmax(logits), _softmax(dense)) for logits, dense in rows]
        return [-sum(q * math.log(q / p) for p, q in zip(*pair, strict=True)) for pair in pairs]


def _softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(z) for z in logits]
    return [power / sum(powers) for power in powers]
