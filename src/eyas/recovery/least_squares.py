"""Ridge regression of a layer on the dense network's outputs."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.recovery.base import Recovery

if TYPE_CHECKING:
    from torch import Tensor

    from eyas.recovery.normal_equations import LayerEquations, NormalEquations


class LeastSquares(Recovery):
    r"""The weights that come nearest to the dense layer's outputs (He et al. 2017, arXiv:1707.06168, equation 5).

    :math:`W = \arg\min \|W X - Y\|^2 + \lambda \|W - W_0\|^2` with X what the pruned layer reads, Y what the dense one
    makes before normalisation, and :math:`W_0` the kept weights: what the images leave open stays as it was. A bias is
    fitted beside, without penalty; so is an offset where batch-norm takes it away. :math:`\lambda` is lowered from the
    largest strength as long as the error on held-out images falls; then all images are fitted.

    Use it as a rule, with 64 images or more: it is the default of searches, of rungs and of what is built.
    """

    kind: Literal["least_squares"] = "least_squares"
    strengths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1e-2, 1e-1, 1.0)
    """What is tried for lambda, over the mean square of a feature."""

    def __call__(self, layer: "LayerEquations") -> "Tensor":
        """The change of the weights; see the base for the promise."""
        import torch

        strengths = sorted(self.strengths, reverse=True)
        best = layer.best(_ridge(layer.fit, layer, strength) for strength in strengths)
        if best is None:
            return torch.zeros_like(layer.weight)
        return _ridge(layer.fit + layer.held_out, layer, strengths[best])


def _ridge(equations: "NormalEquations", layer: "LayerEquations", strength: float) -> "Tensor":
    """The change at one strength; none where the equations are singular."""
    import torch

    change_OF = torch.zeros_like(layer.weight)
    features = change_OF.shape[1] - 1
    size = features + layer.has_offset
    gram_FF = equations.gram[:size, :size].clone()
    gram_FF.diagonal()[:features] += strength * gram_FF.diagonal()[:features].mean()
    root_FF, failed = torch.linalg.cholesky_ex(gram_FF)
    if not failed:
        change_OF[:, :size] = torch.cholesky_solve(equations.cross[:size], root_FF).T
    return change_OF
