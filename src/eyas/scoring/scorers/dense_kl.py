"""Kullback-Leibler divergence from the dense network's answer: needs no labels."""

from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional

from eyas.scoring.scorers.base import Answers, Scorer, per_image


class DenseKL(Scorer):
    r"""Minus :math:`\mathrm{KL}(q \,\|\, p) = \sum_k q_k (\log q_k - \log p_k)`, q dense, in nats."""

    kind: Literal["dense_kl"] = "dense_kl"
    needs_dense: ClassVar[bool] = True

    def __call__(self, answers: Answers) -> Tensor:
        """Minus the divergence for each image, ``(N,)``; 0 is perfect."""
        assert answers.dense is not None
        log_p, log_dense = (
            functional.log_softmax(answers.logits.float(), 1),
            functional.log_softmax(answers.dense.float(), 1),
        )
        return -per_image((log_dense.exp() * (log_dense - log_p)).sum(1))
