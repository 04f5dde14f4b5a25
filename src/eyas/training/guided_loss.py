"""The loss of a network that features of the dense one guide, beside that of its answers.

N images, C channels, H x W pixels.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from eyas.calibration.batchnorm import batch_norms
from eyas.errors import ParameterError
from eyas.pruning.surgery import Slices
from eyas.training.data_parallel import Processes
from eyas.training.guidance import Guidance
from eyas.training.optimiser_step import Networks, RecipesLoss, WeightedLabels

if TYPE_CHECKING:
    from eyas.training.recipes import Recipe


class GuidedLoss(RecipesLoss):
    """The recipe's loss, and how far the layers are from those of the teacher; one forward pass of each network."""

    def __init__(self, recipe: "Recipe", networks: Networks, guidance: Guidance) -> None:
        super().__init__(recipe, networks)
        assert networks.teacher is not None
        self.guidance, self.teacher = guidance, networks.teacher
        self.kept = _kept_by_layer(networks.model, self.teacher, networks.slices, guidance)

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The mean over N images (of several processes their part of it)."""
        with _outputs(self.networks.model, self.kept) as own, _outputs(self.teacher, self.kept) as guides:
            loss = super().__call__(images_NCHW, answers)
        processes, distances = Processes.running(), []
        for name, kept in self.kept.items():
            guide = guides[name].float()
            guide = guide if kept is None else guide[:, kept]
            distances.append(self.guidance.distance(own[name].float(), guide, processes))
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
    if guidance.measure != "kept_channels":
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
