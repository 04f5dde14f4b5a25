"""Weighted means of filters in place of those that are kept."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.recovery.base import UnfittedRecovery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from eyas.recovery.weight_transfer import WeightTransfer


class Fusion(UnfittedRecovery):
    r"""Every kept filter becomes a mean of all, those like it first (DCFF, Lin et al. 2021, arXiv:2107.06916).

    .. math:: W' = P_{kept} W, \quad P = softmax(-T D), \quad D_{jk} = \|w_j - w_k\| / median

    Use it for networks with many filters alike; a trained ResNet-20 lost by it (half the MACs, untrained: 46.3 %,
    sliced 47.1, ``least_squares`` 68.3), and it is undone where the answers come no nearer to the dense network's.

    A layer that makes the channels then makes P times what it made. The paper trains with it from random weights; here
    it only begins from a trained network, and D is divided by each layer's median, without which the softmax is nothing
    but slicing. Layers that share a group share P. Groups with grouped convolutions stay sliced.
    """

    kind: Literal["fusion"] = "fusion"
    temperature: Annotated[float, Field(gt=0)] = 5.0
    """T: large, and filters are only sliced; near 0 all become the mean filter."""

    def transfer(self, weights: "WeightTransfer") -> None:
        """Fuse the filters, and biases, of every group that loses some."""
        for group, kept_U in weights.narrowed():
            makers = weights.members(group, "out")
            fuse_UU = fusion_matrix([weights.rows(member) for member in makers], self.temperature)
            for member in (*makers, *weights.members(group, "bias")):
                rows_UF = weights.rows(member)
                change_UF = (fuse_UU @ rows_UF - rows_UF) * kept_U.to(rows_UF.device)[:, None]
                weights.add(member, change_UF)


def fusion_matrix(filters: "Sequence[Tensor]", temperature: float) -> "Tensor":
    """Of which filters each one is a mean, ``(U, U)``: rows sum to 1.

    Args:
        filters: of each layer that makes the channels, ``(U, F)``.
        temperature: T.
    """
    import torch

    distances = []
    for rows_UF in filters:
        distance_UU = (rows_UF[:, None] - rows_UF[None]).norm(dim=2)  # exact zeros for equal filters, unlike cdist
        others = distance_UU[~torch.eye(len(distance_UU), dtype=torch.bool, device=distance_UU.device)]
        median = others.median() if len(others) else others.new_ones(())
        distances.append(distance_UU / median if median > 0 else distance_UU)
    return torch.softmax(-temperature * torch.stack(distances).mean(0), dim=1)
