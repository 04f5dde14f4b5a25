"""The root of the sparsifiers: what a sparsifier promises."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.pruning.sparsity import Sparsity

if TYPE_CHECKING:
    from eyas.training.masked_weights import MaskedWeights


class Sparsifier(Component):
    """Says how a network in training comes to the zeros of a pattern (``finetune.sparsity``).

    Once they are there, they stay until training ends; only epochs that end with all of them can be the best.
    """

    def check(self, sparsity: Sparsity) -> None:
        """See that it can come to this pattern.

        Raises:
            ParameterError: it cannot; says which can.
        """

    def steps(self, total: int) -> int:
        """After how many of ``total`` steps the zeros are all there; 0 before the first, ``total`` at most."""
        raise NotImplementedError(f"{type(self).__name__} does not say when it is done")

    def reads_gradients(self, step: int, steps: int) -> bool:
        """Whether :meth:`__call__` looks at ``weights.gradients`` after this step."""
        del step, steps
        return False

    def __call__(self, weights: "MaskedWeights", step: int, steps: int) -> None:
        """Change weights or masks after a step.

        Args:
            weights: of the layers that have the pattern; what their masks take is zero.
            step: 1 to ``steps``, or 0 where ``steps`` is 0. After the last the masks have the pattern.
            steps: what :meth:`steps` gave.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it does")


AnySparsifier = Annotated[SerializeAsAny[Sparsifier], BeforeValidator(Sparsifier.validated)]
