"""Features of the dense network as a guide, layer by layer, for a network that was pruned from it.

N images, C channels, H x W pixels; F numbers of an image.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.component import Options
from eyas.errors import ParameterError
from eyas.pruning.surgery import Slices
from eyas.training.optimiser_step import Networks, RecipesLoss, WeightedLabels

if TYPE_CHECKING:
    from eyas.training.recipes import Recipe

_FEWEST_UNBIASED = 4  # images that the unbiased estimate needs
_SMALLEST = 1e-12


class Guidance(Options):
    r"""Learning what the dense network's layers make, beside its answers; compared after each batch-norm layer.

    ``kept_channels``: the channels that the plan keeps, one by one, so that no adapter stands between the two widths:

    .. math:: \frac{1}{L} \sum_l \|S_l - T_l\|^2 / \|T_l\|^2

    ``cka``: one minus the linear centred kernel alignment, which asks for no channels to match (Subramaniam et al.
    2024, arXiv:2410.20035), unbiased (arXiv:2010.15327); a mean over layers, where the paper sums.
    """

    weight: Annotated[float, Field(gt=0)] = 1.0
    """Of the mean over layers, beside the loss of the answers."""
    measure: Literal["kept_channels", "cka"] = "kept_channels"
    """What is compared: kept channels one by one, or how alike all channels see the images of a batch."""

    def distance(self, student_NCHW: Tensor, teacher_NCHW: Tensor) -> Tensor:
        """How far a layer is from the guide; 0 where it does the same."""
        if self.measure == "cka":
            unbiased = len(student_NCHW) >= _FEWEST_UNBIASED
            return 1 - cka(student_NCHW.flatten(1), teacher_NCHW.flatten(1), unbiased=unbiased)
        return (student_NCHW - teacher_NCHW).square().sum() / teacher_NCHW.square().sum().clamp(min=_SMALLEST)


def cka(x_NF: Tensor, y_NF: Tensor, *, unbiased: bool = True) -> Tensor:
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


def _hsic(k_NN: Tensor, l_NN: Tensor) -> Tensor:
    """Up to the factor that the ratio does without."""
    return (_centred(k_NN) * _centred(l_NN)).sum()


def _centred(k_NN: Tensor) -> Tensor:
    return k_NN - k_NN.mean(0, keepdim=True) - k_NN.mean(1, keepdim=True) + k_NN.mean()


def _unbiased_hsic(k_NN: Tensor, l_NN: Tensor) -> Tensor:
    """Up to the factor that the ratio does without."""
    n = len(k_NN)
    k_NN, l_NN = (kernel - kernel.diag().diag() for kernel in (k_NN, l_NN))
    apart = k_NN.sum() * l_NN.sum() / ((n - 1) * (n - 2))
    return (k_NN * l_NN).sum() + apart - 2 / (n - 2) * (k_NN.sum(0) * l_NN.sum(0)).sum()


class GuidedLoss(RecipesLoss):
    """The recipe's loss, and how far the layers are from those of the teacher; one forward pass of each network."""

    def __init__(self, recipe: "Recipe", networks: Networks, guidance: Guidance) -> None:
        super().__init__(recipe, networks)
        assert networks.teacher is not None
        self.guidance, self.teacher = guidance, networks.teacher
        self.kept = _kept_by_layer(networks.model, self.teacher, networks.slices, guidance)

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The mean over N images."""
        with _outputs(self.networks.model, self.kept) as own, _outputs(self.teacher, self.kept) as guides:
            loss = super().__call__(images_NCHW, answers)
        distances = []
        for name, kept in self.kept.items():
            guide = guides[name].float()
            distances.append(self.guidance.distance(own[name].float(), guide if kept is None else guide[:, kept]))
        return loss + self.guidance.weight * torch.stack(distances).mean()


def _kept_by_layer(
    model: nn.Module, teacher: nn.Module, slices: Slices | None, guidance: Guidance
) -> dict[str, Tensor | None]:
    """The layers that both networks have, and which of the teacher's channels are compared; None is all."""
    norms = {id(layer) for layer in batch_norms(model)}
    layers = {name: layer for name, layer in model.named_modules() if id(layer) in norms}
    layers = layers or {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    theirs = dict(teacher.named_modules())
    names = [name for name in layers if name in theirs]
    if not names:
        raise ParameterError("`guidance` compares batch-norm layers or convolutions, and both networks share none")
    if guidance.measure == "cka":
        return dict.fromkeys(names)
    kept = {name: _kept(name, slices or {}) for name in names}
    for name in names:
        expected = _width(theirs[name]) if kept[name] is None else len(kept[name])  # type: ignore[arg-type]
        if _width(layers[name]) != expected:
            msg = (
                f"`guidance` compares the channels that a plan keeps: {name} has {_width(layers[name])}, the teacher's "
                f"{expected}; give a DenseTeacher, which has the plan, or take measure cka"
            )
            raise ParameterError(msg)
    return kept


def _kept(name: str, slices: Slices) -> Tensor | None:
    tensors = (f"{name}.{tensor}" for tensor in ("weight", "running_mean", "bias"))
    dims: Mapping[int, Any] = next((slices[tensor] for tensor in tensors if tensor in slices), {})
    return torch.from_numpy(dims[0]) if 0 in dims else None


def _width(layer: nn.Module) -> int:
    """Channels of what a batch-norm layer or a convolution makes."""
    return int(getattr(layer, "num_features", 0) or getattr(layer, "out_channels", 0))


@contextmanager
def _outputs(model: nn.Module, names: Mapping[str, object]) -> Iterator[dict[str, Tensor]]:
    """What these layers make inside, by name."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        outputs[name] = output

    handles = [
        layer.register_forward_hook(lambda _layer, _input, output, name=name: keep(name, output))
        for name, layer in model.named_modules()
        if name in names
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
