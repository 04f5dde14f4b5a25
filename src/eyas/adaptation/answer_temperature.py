"""How sure a network may be of its answers: one temperature, fitted on labelled images.

Shapes: N images, K classes.
"""

from torch import Tensor

HOTTEST = 4.0
"""Highest temperature: at more, entropies hardly differ any longer, and would speak against nothing."""
_STEPS, _SMALLEST = 40, 1e-30


def softened(probabilities_NK: Tensor, temperature: float) -> Tensor:
    """Softmax of logits divided by a temperature, by that of the logits."""
    return (probabilities_NK.double().clamp(min=_SMALLEST).log() / temperature).softmax(1)


def fit_temperature(probabilities_NK: Tensor, labels_N: Tensor) -> float:
    r"""The temperature at which answers are as sure as they are right (Guo et al. 2017, arXiv:1706.04599, section 4.2).

    Minimises the cross-entropy of :math:`\mathrm{softmax}(z / T)` over T, by bisection of its derivative in 1 / T, in
    which it is convex. Answers are never made surer: T is at least 1, and at most 4.

    Args:
        probabilities_NK: softmax of the logits z.
        labels_N: whole numbers below K.
    """
    logits_NK = probabilities_NK.double().clamp(min=_SMALLEST).log()
    true_N = logits_NK.gather(1, labels_N[:, None].long())[:, 0]
    low, high = 1 / HOTTEST, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        rising = (((middle * logits_NK).softmax(1) * logits_NK).sum(1) - true_N).mean() > 0
        low, high = (low, middle) if rising else (middle, high)
    return 2 / (low + high) if high < 1.0 else 1.0
