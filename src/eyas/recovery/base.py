"""The root of the recoveries: what a recovery promises."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, SerializeAsAny

from eyas.component import Component

if TYPE_CHECKING:
    from torch import Tensor

    from eyas.recovery.normal_equations import LayerEquations
    from eyas.recovery.weight_transfer import WeightTransfer


class Recovery(Component):
    """Says what a pruned layer's weights become, without labels or training."""

    images: Annotated[int, Field(ge=2)] = 64
    """At most so many images; they pass all at once."""
    rows_per_feature: Annotated[int, Field(ge=1)] = 4
    """Positions of a layer's output that count, for each number that one of its outputs reads in the dense network."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.25
    """Share of the images that are not fitted and judge."""

    def transfer(self, weights: "WeightTransfer") -> None:
        """Change what the pruned network takes of the dense one's weights, before layers are fitted; here nothing."""

    def __call__(self, layer: "LayerEquations") -> "Tensor":
        """What is added to the weights, ``(O, F + 1)`` with the bias last, in float64; zeros where nothing helps.

        The change does not raise the error on held-out rows before they are fitted, too. Its last column is zero where
        ``layer.has_offset`` is not.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it recovers")


class UnfittedRecovery(Recovery):
    """The root of those that transfer weights and fit no layer; images only judge whether the answers came nearer."""

    def __call__(self, layer: "LayerEquations") -> "Tensor":
        """No change."""
        return layer.weight.new_zeros(layer.weight.shape)


AnyRecovery = Annotated[SerializeAsAny[Recovery], BeforeValidator(Recovery.validated)]
