"""Features of the dense network as a guide, layer by layer, for a network that was pruned from it.

N images, C channels, H x W pixels; F numbers of an image.
"""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from eyas.component import Options

if TYPE_CHECKING:
    from torch import Tensor

    from eyas.training.data_parallel import Processes

_FEWEST_UNBIASED = 4  # images that the unbiased estimate needs
_SMALLEST = 1e-12


class Guidance(Options):
    r"""Learning what the dense network's layers make, beside its answers; compared after each batch-norm layer.

    ``kept_channels``: the channels that the plan keeps, one by one, so that no adapter stands between the two widths:

    .. math:: \frac{1}{L} \sum_l \|S_l - T_l\|^2 / \|T_l\|^2

    ``cka``: one minus the linear centred kernel alignment, which asks for no channels to match (Subramaniam et al.
    2024, arXiv:2410.20035), unbiased (arXiv:2010.15327); a mean over layers, where the paper sums.

    ``attention``: where a layer looks, a map of the mean squares over channels, :math:`\|a(S_l) - a(T_l)\|^2` of maps
    with norm 1, a mean over images (FFSD, Li et al. 2021, arXiv:2103.14473, section 3; arXiv:1612.03928).
    """

    weight: Annotated[float, Field(gt=0)] = 10.0
    """Of the mean over layers, beside the loss of the answers. ResNet-20 at a quarter of the MACs, 200 steps,
    two orders of the images: 10 gains 1.1 points over answers alone (``cka`` 0.8), 1 gains 0.1, 0.1 nothing;
    ``attention`` 0.8 at 1, 0.7 at 10, 1.3 at 100."""
    measure: Literal["kept_channels", "cka", "attention"] = "kept_channels"
    """What is compared: kept channels one by one, how alike all channels see the images of a batch, or where they
    look. The last two ask for no channels to match."""

    def distance(
        self, student_NCHW: "Tensor", teacher_NCHW: "Tensor", processes: "Processes | None" = None
    ) -> "Tensor":
        """How far a layer is from the guide; 0 where it does the same.

        Args:
            student_NCHW: what the layer makes.
            teacher_NCHW: what the guide's makes, without a gradient.
            processes: where they share the batch; what each computes then sums to the whole (not ``cka``).
        """
        if self.measure == "cka":
            unbiased = len(student_NCHW) >= _FEWEST_UNBIASED
            return 1 - cka(student_NCHW.flatten(1), teacher_NCHW.flatten(1), unbiased=unbiased)
        if self.measure == "attention":
            apart = (attention(student_NCHW) - attention(teacher_NCHW)).square().sum()
            return apart / _sum_over(processes, apart.new_tensor(len(student_NCHW)))
        power = _sum_over(processes, teacher_NCHW.square().sum())
        return (student_NCHW - teacher_NCHW).square().sum() / power.clamp(min=_SMALLEST)


def _sum_over(processes: "Processes | None", number: "Tensor") -> "Tensor":
    if processes is not None:
        processes.sum([number])
    return number


def attention(features_NCHW: "Tensor") -> "Tensor":
    """Mean squares over channels at each place of an image, ``(N, H * W)``, with norm 1: the scale is lost.

    Features ``(N, C)`` have one place, and nothing to compare.
    """
    from torch.nn.functional import normalize

    return normalize(features_NCHW.square().mean(1).reshape(len(features_NCHW), -1), dim=1, eps=_SMALLEST)


def cka(x_NF: "Tensor", y_NF: "Tensor", *, unbiased: bool = True) -> "Tensor":
    r"""Linear centred kernel alignment of two sets of features (Kornblith et al. 2019, arXiv:1905.00414).

    .. math:: CKA = HSIC(K, L) / \sqrt{HSIC(K, K) HSIC(L, L)}, \quad K = X X^T, L = Y Y^T

    1 for equal features, whatever orthogonal map and scale lie between. Biased, it nears 1 where there are few images.

    Args:
        x_NF: of N images, 4 at least where it is unbiased.
        y_NF: of the same images, of any length.
        unbiased: by the estimate of Song et al. 2012 (JMLR 13), without the diagonals.
    """
    kernels = [features_NF @ features_NF.T for features_NF in (x_NF, y_NF)]
    hsic = _unbiased_hsic if unbiased else _hsic
    across, *within = (hsic(kernels[a], kernels[b]) for a, b in ((0, 1), (0, 0), (1, 1)))
    return across / (within[0] * within[1]).clamp(min=_SMALLEST).sqrt()


def _hsic(k_NN: "Tensor", l_NN: "Tensor") -> "Tensor":
    """Up to the factor that the ratio does without."""
    return (_centred(k_NN) * _centred(l_NN)).sum()


def _centred(k_NN: "Tensor") -> "Tensor":
    return k_NN - k_NN.mean(0, keepdim=True) - k_NN.mean(1, keepdim=True) + k_NN.mean()


def _unbiased_hsic(k_NN: "Tensor", l_NN: "Tensor") -> "Tensor":
    """Up to the factor that the ratio does without."""
    n = len(k_NN)
    k_NN, l_NN = (kernel - kernel.diag().diag() for kernel in (k_NN, l_NN))
    apart = k_NN.sum() * l_NN.sum() / ((n - 1) * (n - 2))
    return (k_NN * l_NN).sum() + apart - 2 / (n - 2) * (k_NN.sum(0) * l_NN.sum(0)).sum()
