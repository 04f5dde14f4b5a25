"""The root of the scorers: what a scorer is given, and what it promises."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny
from torch import Tensor

from eyas.component import Component
from eyas.errors import DataError
from eyas.ridge import left_out_residuals


@dataclass(frozen=True)
class Answers:
    """What one candidate says to N images, and what that can be held against."""

    logits: Tensor
    """``(N, K)`` for K classes; ``(N, K, ...)`` for a network that answers per pixel."""
    labels: Tensor | None = None
    """``(N,)``; given where :attr:`Scorer.needs_labels`."""
    dense: Tensor | None = None
    """The dense network's logits; given where :attr:`Scorer.needs_dense`."""
    features: Tensor | None = None
    """Inputs of the layer that makes the logits, ``(N, F)``; given where :attr:`Scorer.needs_features`."""


class Scorer(Component):
    """Turns a candidate's answers into one number per image; their mean is its score, higher is better.

    Answers may come in pieces; all images of a rung together only where :attr:`needs_features`.
    """

    needs_labels: ClassVar[bool] = False
    needs_dense: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False

    def __call__(self, answers: Answers) -> Tensor:
        """Goodness of each image, shape ``(N,)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it scores")


def per_image(goodness: Tensor) -> Tensor:
    """Mean over whatever follows the image axis (pixels, for a network that answers per pixel)."""
    return goodness if goodness.ndim == 1 else goodness.flatten(1).mean(1)


def left_out_agreement(scorer: Scorer, answers: Answers, targets_NK: Tensor, ridge: float) -> Tensor:
    """1 where a ridge regression from features to targets names an image's class without having seen it, else 0.

    Args:
        scorer: who asks; named in the error.
        answers: with features, ``(N, F)``.
        targets_NK: what is fitted; an image's class is its largest target.
        ridge: strength of the penalty; see :func:`eyas.ridge.left_out_residuals`.

    Raises:
        DataError: the network answers per pixel or per token: there is no last linear layer to refit.
    """
    assert answers.features is not None
    if answers.logits.ndim != 2 or answers.features.ndim != 2:
        shapes = f"logits {tuple(answers.logits.shape)}, features {tuple(answers.features.shape)}"
        kind = scorer.model_dump()["kind"]
        msg = f"{kind} judges networks with one answer per image ({shapes}): choose cross_entropy or dense_kl"
        raise DataError(msg)
    left_out_NK = targets_NK - left_out_residuals(answers.features, targets_NK, ridge)
    return (left_out_NK.argmax(1) == targets_NK.argmax(1)).float()


AnyScorer = Annotated[SerializeAsAny[Scorer], BeforeValidator(Scorer.parse)]
