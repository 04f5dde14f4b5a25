"""How unlike the other filters a filter sees its layer.

U filters of a layer.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from eyas.pruning.criteria.base import Criterion
from eyas.pruning.criteria.norms import aggregate
from eyas.pruning.groups import ChannelGroup

if TYPE_CHECKING:
    from torch import Tensor, nn

_LEAST = 1e-7


class FilterSimilarity(Criterion):
    r"""How unlike those of others a filter's similarities to its layer are (DCFF, Lin et al. 2021, arXiv:2107.06916).

    Use it where ``geometric_median`` fits: filters that look alike to all others go. Reads no images. Only the
    importance of DCFF; its fused filters are not used.

    With distances :math:`D_{jk} = \|W_j - W_k\|_2` of a layer's filters, divided by their median, and
    :math:`P = softmax(-t D)` by rows, a filter has :math:`\sum_k KL(P_j \| P_k) / U`. As published, t grows so
    fast that P is the identity after an epoch, and nothing is left to compare; here it stays.
    """

    kind: Literal["filter_similarity"] = "filter_similarity"
    sharpness: Annotated[float, Field(gt=0, le=1e4)] = 1.0
    """t: at large ones a filter is like none but itself, and all are rated alike; at small ones like all others."""

    def __call__(self, group: ChannelGroup, model: "nn.Module", data: Any = None) -> "Tensor":
        """Importance of each channel, shape ``(group.channels,)``."""
        return aggregate(group, model, "out", self._divergences)

    def _divergences(self, weight: "Tensor") -> "Tensor":
        import torch

        shares_UU = similarity_shares(weight, self.sharpness)
        others_U = (shares_UU + _LEAST).log().sum(0)
        own_U = len(shares_UU) * torch.special.xlogy(shares_UU, shares_UU).sum(1)
        divergences_U: Tensor = (own_U - shares_UU @ others_U) / len(shares_UU)
        return divergences_U.clamp(min=0)


def similarity_shares(weight: "Tensor", sharpness: float) -> "Tensor":
    """The softmax P over each filter's distances, rows that sum to 1; ``weight`` has the filters first."""
    import torch

    rows = weight.detach().flatten(1).double()
    distances_UU = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    apart = distances_UU[~torch.eye(len(rows), dtype=torch.bool, device=rows.device)]
    usual = apart[apart > 0].median() if bool((apart > 0).any()) else 1.0
    return torch.softmax(-sharpness * distances_UU / usual, dim=1)
