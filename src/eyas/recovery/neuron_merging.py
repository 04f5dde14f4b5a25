"""What reads a channel that goes reads the one most like it instead."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.recovery.base import UnfittedRecovery

if TYPE_CHECKING:
    from torch import Tensor

    from eyas.recovery.weight_transfer import WeightTransfer


class NeuronMerging(UnfittedRecovery):
    r"""Weights that read a dropped channel are added to those of the kept one whose filter is most like its own.

    Use it for networks that hold duplicates; of a trained ResNet-20 no two filters were that alike, and less likeness
    asked for did harm (half the MACs, untrained: 29.1 % at 0, sliced 47.1, ``least_squares`` 68.3). It is undone where
    the answers come no nearer to the dense network's.

    After Kim et al. 2020 (arXiv:2010.13160), without images: for a dropped filter :math:`w_k` and the kept
    :math:`w_j` of the largest cosine, the next layer's :math:`V_j` becomes :math:`V_j + s V_k`, with s the ratio of
    their batch-norm scales, or of their norms where there is no batch-norm. Exact for a duplicate. Groups with grouped
    convolutions stay sliced.
    """

    kind: Literal["neuron_merging"] = "neuron_merging"
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.45
    """The smallest cosine at which two channels count as alike; below it a dropped channel is lost. Chosen by what was
    measured, not by the paper: of 0, 0.15 and 0.45 the one that did no harm to a trained ResNet-20."""

    def transfer(self, weights: "WeightTransfer") -> None:
        """Merge the channels of every group that loses some."""
        import torch

        for group, kept_U in weights.narrowed():
            filters_UF = torch.cat([weights.rows(member) for member in weights.members(group, "out")], 1)
            scales = [weights.rows(member) for member in weights.members(group, "scale")]
            sizes_U = torch.cat(scales, 1).mean(1) if scales else filters_UF.norm(dim=1)
            merge_UU = merging_matrix(filters_UF, sizes_U, kept_U.to(filters_UF.device), self.similarity)
            for member in weights.members(group, "in"):
                weights.add(member, merge_UU @ weights.rows(member))


def merging_matrix(filters_UF: "Tensor", sizes_U: "Tensor", kept_U: "Tensor", similarity: float) -> "Tensor":
    """How much of what reads each channel (columns) is added to what reads another one (rows), ``(U, U)``.

    Args:
        filters_UF: that make the channels.
        sizes_U: of the channels.
        kept_U: which stay.
        similarity: the smallest cosine.
    """
    import torch

    unit_UF = torch.nn.functional.normalize(filters_UF, dim=1)
    cosine_UU = (unit_UF @ unit_UF.T).masked_fill(~kept_U[:, None], -1.0)
    largest_U, nearest_U = cosine_UU.max(0)
    ratio_U = sizes_U / sizes_U[nearest_U]
    alike_U = ~kept_U & (largest_U >= similarity) & ratio_U.isfinite() & (ratio_U > 0)
    merge_UU = torch.zeros_like(cosine_UU)
    merge_UU[nearest_U[alike_U], alike_U.nonzero()[:, 0]] = ratio_U[alike_U]
    return merge_UU
