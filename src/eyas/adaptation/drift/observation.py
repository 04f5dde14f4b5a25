"""One pass over images: what they look like, what the network answers, and what its batch-norm layers see.

Shapes: N images, C channels, H height, W width, K classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from eyas.adaptation.drift.image_statistics import IMAGE_STATISTICS
from eyas.adaptation.drift.layer_moments import LayerMoments, Layers, MomentSum
from eyas.calibration.batchnorm import evaluation_mode, named_batch_norms
from eyas.data.image_tensors import as_images, check_images
from eyas.errors import DataError
from eyas.pruning.output_paths import primary_output

BATCH, SMALLEST_EDGE = 256, 4


@dataclass(frozen=True)
class Observation:
    """What there is to say of some images and a network's answers to them."""

    numbers: dict[str, Tensor]
    """Per image ``(N,)``: the image statistics, ``entropy`` and ``confidence``, and of a network with batch-norm
    ``layers``, how far an image's channel means are from those held, squared, in variances, mean over all layers."""
    probabilities: Tensor
    """Softmax of the logits; where each pixel is answered, its mean over the pixels."""
    layers: dict[str, LayerMoments]
    """What reached each batch-norm layer."""
    features: Tensor | None = None
    """What the linear layer reads that answers, ``(N, F)``; None without one."""

    @property
    def predicted(self) -> Tensor:
        """Likeliest class of each image."""
        return self.probabilities.argmax(1)

    @property
    def counts(self) -> Tensor:
        """How often each class was predicted."""
        return torch.bincount(self.predicted, minlength=self.probabilities.shape[1])

    @staticmethod
    def merge_numbers(parts: "Sequence[Observation]") -> dict[str, Tensor]:
        """The numbers of all images of several observations, in their order."""
        return {name: torch.cat([part.numbers[name] for part in parts]) for name in parts[0].numbers}


@torch.inference_mode()
def observe(
    model: nn.Module,
    images_NCHW: Tensor,
    held: Layers,
    batch_size: int = BATCH,
    *,
    output: int | str | None = None,
) -> Observation:
    """Run the network in eval mode, its statistics as they are, and look at everything once.

    Args:
        model: the network; it is left as it was.
        images_NCHW: normalised floats.
        held: what the batch-norm layers are compared with, by name.
        batch_size: images per forward pass; changes nothing else.
        output: which of several outputs are the logits; without it ``logits``, ``out`` or the first.

    Raises:
        DataError: there is no image, they are no finite floats, or the network does not take them.
    """
    images_NCHW = require_images(images_NCHW)
    _require_widths(model, held)
    tensors = (tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point())
    like = next(tensors, images_NCHW)
    sums = {name: MomentSum(moments) for name, moments in held.items()}
    parts: dict[str, list[Tensor]] = {}
    probabilities, features = [], []
    with evaluation_mode(model):
        for batch in torch.split(images_NCHW, batch_size):
            shifts: list[Tensor] = []
            with _watching(model, sums, shifts), _reading(model) as read:
                probabilities.append(_answers(model, batch.to(like.device, like.dtype), output))
            features += [values.cpu() for values in read[-1:]]
            numbers = {name: statistic(batch) for name, statistic in IMAGE_STATISTICS.items()}
            numbers |= _certainty(probabilities[-1])
            if shifts:
                numbers["layers"] = torch.stack(shifts).mean(0)
            for name, values in numbers.items():
                parts.setdefault(name, []).append(values.cpu().double())
    seen = {name: total.moments() for name, total in sums.items() if total.images}
    numbers = {name: torch.cat(values) for name, values in parts.items()}
    whole = torch.cat(features) if features else None
    return Observation(numbers, torch.cat(probabilities), seen, whole)


def require_images(images: Any, at_least: int = 1) -> Tensor:
    """A batch of normalised images as one tensor ``(N, C, H, W)``, which an array may be.

    Raises:
        DataError: says what was given and what to give.
    """
    images_NCHW = as_images("images", images)
    shape = tuple(images_NCHW.shape)
    if images_NCHW.ndim != 4 or min(shape[2:]) < SMALLEST_EDGE:
        msg = f"`images` have shape {shape}: give (N, C, H, W), each edge at least {SMALLEST_EDGE}"
        raise DataError(msg)
    if len(images_NCHW) < at_least:
        msg = f"`images` holds {len(images_NCHW)}: give at least {at_least}"
        raise DataError(msg)
    check_images("images", images_NCHW)
    return images_NCHW


def require_alike(before: Observation, after: Observation, name: str) -> None:
    """See that the network ``name`` answers with as many classes as its source.

    Raises:
        DataError: it does not.
    """
    classes = [one.probabilities.shape[1] for one in (before, after)]
    if classes[0] != classes[1]:
        msg = f"`source_model` answers with {classes[0]} classes, `{name}` with {classes[1]}: give one network's"
        raise DataError(msg)


def _require_widths(model: nn.Module, held: Layers) -> None:
    layers = named_batch_norms(model)
    for name, moments in held.items():
        width, expected = layers[name].num_features if name in layers else None, len(moments.mean)
        if width not in (None, expected):
            msg = (
                f"`model` has {width} channels in {name}, the network of the reference {expected}: "
                "give the network that the reference was made of, or make one of this network"
            )
            raise DataError(msg)


def _answers(model: nn.Module, batch_NCHW: Tensor, output: int | str | None) -> Tensor:
    try:
        logits = primary_output(model(batch_NCHW), output).float()
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        msg = (
            f"{type(model).__name__} does not take images of shape {tuple(batch_NCHW.shape[1:])} (C, H, W): "
            f"{type(error).__name__}: {error}"
        )
        raise DataError(msg) from error
    if logits.ndim < 2 or not bool(logits.isfinite().all()):
        what = f"shape {tuple(logits.shape)}" if logits.ndim < 2 else "values that are not finite"
        msg = f"{type(model).__name__} answers with {what}: give a network that answers with logits (N, K)"
        raise DataError(msg)
    return logits.softmax(1).flatten(2).mean(2).cpu() if logits.ndim > 2 else logits.softmax(1).cpu()


def _certainty(probabilities_NK: Tensor) -> dict[str, Tensor]:
    return {
        "entropy": torch.special.entr(probabilities_NK.double()).sum(1),
        "confidence": probabilities_NK.amax(1),
    }


@contextmanager
def _watching(model: nn.Module, sums: dict[str, MomentSum], shifts: list[Tensor]) -> Iterator[None]:
    """Hooks that gather what reaches the layers; ``shifts`` gets each image's distance at every layer, ``(N,)``."""

    def gather(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0].float()
        shifts.append(sums[name].add(values.flatten(2) if values.ndim > 2 else values[..., None]))

    layers = {name: layer for name, layer in named_batch_norms(model).items() if name in sums}
    handles = [layer.register_forward_pre_hook(partial(gather, name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _reading(model: nn.Module) -> Iterator[list[Tensor]]:
    """Hooks that gather what linear layers read of one vector per image, in the order of the calls."""
    read: list[Tensor] = []

    def gather(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].ndim == 2:
            read.append(inputs[0].float())

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    handles = [layer.register_forward_pre_hook(gather) for layer in layers]
    try:
        yield read
    finally:
        for handle in handles:
            handle.remove()
