"""A look at a network before there are parameters for it: what it is, what can be pruned, how it wants its images."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from eyas.config import SampleParams
from eyas.networks.architectures import Architecture, build_model, find_architecture
from eyas.networks.checkpoint import load_checkpoint, load_weights
from eyas.networks.saved_network import Network
from eyas.operations.report.result_table import count
from eyas.pruning.inspection import smallest
from eyas.pruning.widths import usual_steps
from tasks.fitting_architecture import fitting_architectures, in_channels, num_classes, without_wrapper
from tasks.images_look import TriedImages
from tasks.search_space import trace_network


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel, of pixel values in [0, 1]."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalisation("ImageNet's", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KNOWN = (
    IMAGENET,
    Normalisation("CIFAR-10's", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    Normalisation("for values from -1 to 1", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Normalisation("for values from 0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Normalisation("MNIST's", (0.1307,), (0.3081,)),
    Normalisation("for values from -1 to 1", (0.5,), (0.5,)),
    Normalisation("for values from 0 to 1", (0.0,), (1.0,)),
)
"""What networks are commonly trained with."""


@dataclass(frozen=True)
class Weights:
    """A file of weights, and what its tensors say of the network."""

    path: Path
    tensors: Mapping[str, Tensor]
    num_classes: int
    channels: int
    fitting: tuple[Architecture, ...]
    """Networks of ``models/`` that have just these tensors."""


@dataclass(frozen=True)
class Reading:
    """How the checkpoint reads images best, of all that was tried."""

    architecture: Architecture
    normalisation: Normalisation
    accuracy: float
    loss: float
    images: int
    tried: int
    next_best: str = ""
    """The other normalisation that is right most often."""
    next_accuracy: float = 0.0

    @property
    def right(self) -> str:
        """How often the weights are right, in words."""
        return f"the weights are right for {100 * self.accuracy:.1f} % of {self.images} images"

    @property
    def margin(self) -> float:
        """Points between the two."""
        return 100 * (self.accuracy - self.next_accuracy)

    @property
    def is_close(self) -> bool:
        """Whether so many images cannot tell the two apart: less than twice the standard error of the accuracy."""
        error = 100 * math.sqrt(max(self.accuracy * (1 - self.accuracy), 1 / self.images) / self.images)
        return bool(self.next_best) and self.margin < 2 * error


def read_weights(path: Path) -> Weights:
    """Look into a checkpoint.

    Raises:
        CheckpointError: it holds no weights.
    """
    tensors = load_weights(path)
    shapes = without_wrapper({name: tuple(value.shape) for name, value in tensors.items()})
    fitting = tuple(fitting_architectures(tensors))
    return Weights(path, tensors, num_classes(shapes), in_channels(shapes), fitting)


def build(architecture: Architecture, classes: int, path: Path | None, names: Sequence[str] = ()) -> nn.Module:
    """The network, with the weights of a file, every one of them; ``names`` are the images' classes, for messages.

    Raises:
        ParameterError: it does not build.
        CheckpointError: the weights are of another network.
    """
    model = build_model(architecture.factory, architecture.arguments, classes)
    if path is not None:
        load_checkpoint(model, path, classes=names)
    return model.eval()


def own_normalisation(images: TriedImages) -> Normalisation:
    """That of the images themselves."""
    by_channel = images.images.transpose(0, 1).flatten(1)
    mean, std = ([round(float(one), 4) for one in values] for values in (by_channel.mean(1), by_channel.std(1)))
    return Normalisation("these images'", tuple(mean), tuple(max(one, 0.001) for one in std))


def best_reading(
    architectures: Sequence[Architecture], classes: int, path: Path, images: TriedImages
) -> Reading:  # fmt: skip
    """The architecture and normalisation by which the checkpoint is right most often, and surest where several are."""
    channels = images.images.shape[1]
    ways = [one for one in KNOWN if len(one.mean) == channels] + [own_normalisation(images)]
    readings = []
    for architecture in architectures:
        model = build(architecture, classes, path)
        for way in ways:
            accuracy, loss = _judge(model, images, way)
            readings.append(Reading(architecture, way, accuracy, loss, len(images.labels), len(ways)))
    ranked = sorted(readings, key=lambda reading: (-reading.accuracy, reading.loss))
    best = ranked[0]
    other = next((one for one in ranked if one.normalisation != best.normalisation), None)
    return replace(best, next_best=other.normalisation.name, next_accuracy=other.accuracy) if other else best


@torch.inference_mode()
def _judge(model: nn.Module, images: TriedImages, way: Normalisation) -> tuple[float, float]:
    """Accuracy and cross-entropy; the worst of both where the network does not answer with a class per image."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (way.mean, way.std))
    answers = [model((part - mean) / std) for part in images.images.split(32)]  # type: ignore[no-untyped-call]
    if not all(isinstance(answer, Tensor) and answer.ndim == 2 for answer in answers):
        return 0.0, math.inf
    logits_NK = torch.cat(answers)
    accuracy = (logits_NK.argmax(1) == images.labels).float().mean()
    return float(accuracy), float(nn.functional.cross_entropy(logits_NK, images.labels))


def describe(architecture: Architecture, model: nn.Module, shape: tuple[int, int, int], classes: int) -> str:
    """What of the network can be pruned, in words.

    Raises:
        TraceError: it cannot be captured.
    """
    named = find_architecture(architecture.factory, architecture.arguments, classes)
    space = trace_network(Network(model, named.factory, named.arguments, shape), SampleParams())
    steps = usual_steps(space.groups)
    dense, least = space.cost(), smallest(space.rounded(steps))
    groups = f"{len(space.groups)} of {len(space.groups) + len(space.frozen)} groups of channels can be pruned"
    multiples = " and ".join(map(str, sorted({step for step in steps.values() if step > 1})))
    rounded = f" (widths in multiples of {multiples})" if multiples else ""
    return f"{count(dense.macs)} MACs; {groups}, down to {100 * least.macs / dense.macs:.3g} % of the MACs{rounded}"
