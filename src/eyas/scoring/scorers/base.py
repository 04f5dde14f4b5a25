"""The root of the scorers: what a scorer is given, and what it promises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.data.tasks import IGNORED
from eyas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """What one candidate says to N images, and what that can be held against."""

    logits: "Tensor"
    """``(N, K)`` for K classes; ``(N, K, ...)`` for a network that answers per pixel."""
    labels: "Tensor | None" = None
    """``(N,)``, per pixel ``(N, ...)``, where :data:`eyas.data.tasks.IGNORED` is no class; given where
    :attr:`Scorer.needs_labels`."""
    dense: "Tensor | None" = None
    """The dense network's logits; given where :attr:`Scorer.needs_dense`."""
    features: "Tensor | None" = None
    """Inputs of the layer that makes the logits, ``(N, F)``; given where :attr:`Scorer.needs_features`."""


class Scorer(Component):
    """Turns a candidate's outputs into one number per image; their mean is its score, higher is better.

    Outputs may come in pieces; all images of a rung together only where :attr:`needs_features`.
    """

    label: ClassVar[str] = "higher is better"
    """What the number is, in few words: the report writes it beside the axis."""
    needs_labels: ClassVar[bool] = False
    needs_dense: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    is_share: ClassVar[bool] = False
    """Whether scores are shares of 1, such as accuracies: a reward multiplies no other."""
    own_answers: ClassVar[bool] = False
    """It says itself what is judged (:meth:`answer`) and what labels mean, as for detectors: these may then be any
    integers ``(N, ...)``, accuracy and cross-entropy are not known, and rungs cannot train."""

    def __call__(self, outputs: Outputs) -> "Tensor":
        """Score of each image, shape ``(N,)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it scores")

    def answer(self, output: Any, choice: int | str | None = None) -> "Tensor":
        """What becomes :attr:`Outputs.logits` (of the dense network :attr:`Outputs.dense`), images first.

        Args:
            output: whatever the network returns.
            choice: which of several outputs a user chose.

        Raises:
            DataError: the network has no such output.
        """
        from eyas.pruning.output_paths import primary_output

        return primary_output(output, choice)

    def reference(self, outputs: Outputs) -> Sequence[float]:
        """The same for ``(N, K)`` logits, computed another way in float64: the formula spelled out, for the tests."""
        raise NotImplementedError(f"{type(self).__name__} does not spell out its formula")


def image_scores(scorer: Scorer, outputs: Outputs) -> "Tensor":
    """What a scorer gives, ``(N,)``.

    Raises:
        ParameterError: it is something else than one number per image.
    """
    from torch import Tensor

    scores_N, images = scorer(outputs), len(outputs.logits)
    if isinstance(scores_N, Tensor) and scores_N.shape == (images,):
        return scores_N
    what = f"shape {tuple(scores_N.shape)}" if isinstance(scores_N, Tensor) else f"a {type(scores_N).__name__}"
    msg = f"`scorer` {scorer.kind} gives {what} for {images} images: it must give a tensor ({images},)"
    raise ParameterError(msg)


def per_image(values: "Tensor") -> "Tensor":
    """Mean over whatever follows the image axis (pixels, for a network that answers per pixel)."""
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def per_labelled_image(values: "Tensor", labels: "Tensor") -> "Tensor":
    """:func:`per_image` over the pixels that have a label; ``values`` are finite."""
    if labels.ndim == 1:
        return values
    labelled = labels != IGNORED
    return (values * labelled).flatten(1).sum(1) / labelled.flatten(1).sum(1)


AnyScorer = Annotated[SerializeAsAny[Scorer], BeforeValidator(Scorer.validated)]
