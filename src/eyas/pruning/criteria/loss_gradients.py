"""Gradients on calibration images with respect to every parameter, and what criteria make of them per channel.

Shapes: N images, K classes, U units of a group.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.calibration.batchnorm import evaluation_mode
from eyas.errors import DataError
from eyas.pruning.activations import batches_for
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.groups import ChannelGroup, Member
from eyas.pruning.output_paths import primary_output
from eyas.pruning.surgery import rebuild

PerEntry = dict[tuple[str, int], Tensor]
"""A number for each entry along a parameter's dimension, by both."""
IGNORED = -100
"""What PyTorch's cross-entropy takes for no class."""


def answer_gradients(
    model: nn.Module, data: CalibrationSet, value: Callable[[Tensor, slice], Tensor], *, batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """Gradients of a value of the answers, batch by batch, in eval mode; the network stays as it was.

    Args:
        model: the dense network.
        data: images, and which output answers.
        value: of the answers to some images, and which images these are.
        batch_size: images per gradient.

    Raises:
        DataError: the images cannot be used, or the network computes without gradients.
    """
    with torch.inference_mode(mode=False):
        own = rebuild(model, _own)
        weights = {name: weight for name, weight in own.named_parameters() if weight.requires_grad}
        for number, batch in enumerate(batches_for(model, data.images, batch_size)):
            with torch.enable_grad(), evaluation_mode(own):
                answers = primary_output(own(batch.clone()), data.output)
                require_gradients(model, answers)
                shown = slice(number * batch_size, number * batch_size + len(batch))
                gradients = torch.autograd.grad(value(answers, shown), list(weights.values()), allow_unused=True)
            yield {name: grad for name, grad in zip(weights, gradients, strict=True) if grad is not None}


def loss_gradients(
    model: nn.Module, data: CalibrationSet, *, labels: bool, batch_size: int, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Gradients of the mean cross-entropy of each batch.

    Without labels they are held against answers that are drawn from the dense network's own: the mean of such
    gradients is zero, that of their squares the curvature of the divergence from the dense network.
    """
    generator = torch.Generator().manual_seed(seed)

    def loss(logits: Tensor, shown: slice) -> Tensor:
        require_classes(logits)
        targets = data.labels[shown] if labels and data.labels is not None else _drawn(logits, generator)
        require_labels(targets, logits)
        targets = targets.to(logits.device, torch.int64)
        total = functional.cross_entropy(logits, targets, reduction="sum")
        return total / max(1, int((targets != IGNORED).sum()))

    return answer_gradients(model, data, loss, batch_size=batch_size)


def each_dim(tensors: Mapping[str, Tensor]) -> Iterator[tuple[tuple[str, int], Tensor]]:
    """Sums of tensors over all dimensions but one of the first two, which hold channels; float64 on the CPU."""
    for name, tensor in tensors.items():
        for dim in range(min(2, tensor.ndim)):
            rest = [other for other in range(tensor.ndim) if other != dim]
            total = tensor.sum(rest, dtype=torch.float64) if rest else tensor.double()
            yield (name, dim), total.cpu()


def sum_over_members(group: ChannelGroup, members: Iterable[Member], values: PerEntry) -> Tensor:
    """Sums per unit ``(..., U)`` of numbers ``(..., entries)`` over those members that have any; else zeros."""
    seen = (member for member in members if (member.parameter, member.dim) in values)
    parts = [values[member.parameter, member.dim][..., torch.from_numpy(member.positions)].sum(-1) for member in seen]
    return sum(parts, torch.zeros(group.units, dtype=torch.float64))


def require_gradients(model: nn.Module, answers: Tensor, instead: str = "a criterion that asks for none") -> None:
    """Refuse a network whose forward code computes without gradients, and say what to take instead.

    Raises:
        DataError: it does.
    """
    if not answers.requires_grad:
        msg = f"{type(model).__name__} computes without gradients: take {instead}"
        raise DataError(msg)


def require_classes(logits: Tensor, instead: str = "criterion lfh") -> None:
    """Refuse answers that are no classes, and say what to take instead.

    Raises:
        DataError: they have no dimension of at least two classes.
    """
    if logits.ndim < 2 or logits.shape[1] < 2:
        msg = f"the network answers with shape {tuple(logits.shape)}, and not with classes: take {instead}"
        raise DataError(msg)


def require_labels(labels: Tensor, logits: Tensor) -> None:
    """Refuse labels that the answers do not fit.

    Raises:
        DataError: they have another shape, or a class that the network does not know.
    """
    expected, classes = (len(logits), *logits.shape[2:]), logits.shape[1]
    if tuple(labels.shape) != expected:
        msg = f"labels of {len(labels)} images have shape {tuple(labels.shape)}, the answers ask for {expected}"
        raise DataError(msg)
    wrong = labels[((labels < 0) & (labels != IGNORED)) | (labels >= classes)]
    if len(wrong):
        msg = f"labels hold {int(wrong[0])}, the network answers with classes 0 to {classes - 1}"
        raise DataError(msg)


def _own(tensor: Tensor) -> Tensor:
    """A copy that gradients can be taken of, whatever the network asks for."""
    copied = tensor.detach().clone()
    return nn.Parameter(copied, copied.is_floating_point()) if isinstance(tensor, nn.Parameter) else copied


def _drawn(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A class per answer, as likely as the network says."""
    shares = logits.detach().to("cpu", torch.float32).softmax(1).movedim(1, -1)
    return torch.multinomial(shares.flatten(0, -2), 1, generator=generator).view(shares.shape[:-1])
