"""A gate per channel, trained on images while the network's weights stay as they are.

Shapes: N images, K classes, U units of all groups in order.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.calibration.recalibrate import like_weights
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.loss_gradients import IGNORED, require_classes, require_gradients, require_labels
from eyas.pruning.gated_network import GatedNetwork
from eyas.pruning.output_paths import primary_output

if TYPE_CHECKING:
    from eyas.pruning.space import SearchSpace


@dataclass(frozen=True)
class GateBatch:
    """What gates are drawn for in one step."""

    images: Tensor
    """``(N, C, H, W)``, on the network's device."""
    answers: Tensor
    """Logits of the dense network."""
    labels: Tensor | None
    """Where they are read."""
    progress: float
    """Share of the steps that are done, 0 at the first."""
    generator: torch.Generator
    """Of all that is drawn, on the CPU."""


@dataclass(frozen=True)
class GateProblem:
    """What gates are made for."""

    network: GatedNetwork
    space: "SearchSpace"
    norms: Tensor = field(repr=False)
    """Of the weights that make and read each unit ``(U,)``, each layer's normalised to mean 1; float64."""
    first: GateBatch = field(repr=False)
    """Some images and their answers."""

    def weight_order(self) -> Tensor:
        """Units by rising norm of their weights: an order that moves with the channels, for what is drawn for each."""
        return self.norms.argsort(stable=True)


Rate = Annotated[float, Field(gt=0, le=1e3)]
"""Of an optimiser: at 0 no gate would move, above 1,000 none stays a number."""


class Gates(nn.Module):
    """Trainable gates, one per unit; made for one network."""

    def forward(self, batch: GateBatch) -> Tensor:
        """Gates ``(U,)``, or of each image ``(N, U)``; float64 on the CPU, differentiable."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its gates are")

    def penalty(self, gates: Tensor) -> Tensor:
        """What is added to the loss of the answers; ``gates`` are those of the step."""
        return gates.new_zeros(())

    def importance(self) -> Tensor:
        """Of each unit after the training, ``(U,)``, where channels are rated by it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it learned")


@dataclass(frozen=True)
class GateTraining:
    """How long gates are trained on how many images: the loop that all of them share."""

    steps: int
    """Of the training; the rate falls to 0 by a cosine."""
    batch_size: int
    """Images per step."""
    seed: int
    """Of the images of each step, and what is drawn for the gates."""
    labels: bool = False
    """Read the labels of the images; else the answers of the dense network are the targets."""
    instead: str | None = None
    """What a network is told to take whose answers are no classes, or that has no gradients; without it a criterion."""

    def batches(self, network: GatedNetwork, model: nn.Module, data: CalibrationSet) -> Iterator[GateBatch]:
        """Images of each step, with what the dense network answers; one more, the first, to look at.

        Raises:
            DataError: the answers are no classes, or the labels do not fit them.
        """
        generator = torch.Generator().manual_seed(self.seed)
        for step in itertools.chain([0], range(self.steps)):
            chosen = torch.randperm(len(data.images), generator=generator)[: self.batch_size]
            images = like_weights(model, data.images[chosen]).clone()
            with torch.no_grad():
                dense = network(images, torch.ones(network.units, dtype=torch.float64))
            answers = primary_output(dense, data.output)
            require_classes(answers, self.instead or "criterion lfh")
            labels = None
            if self.labels and data.labels is not None:
                labels = data.labels[chosen].to(answers.device, torch.int64)
                require_labels(labels, answers)
            yield GateBatch(images, answers, labels, step / max(1, self.steps), generator)

    def train(
        self,
        network: GatedNetwork,
        model: nn.Module,
        gates: Gates,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[GateBatch],
        *,
        output: int | str | None = None,
    ) -> Tensor:
        """Whether the answers changed with each unit's gate in any step, ``(U,)``; the gates are trained.

        Raises:
            DataError: the network computes without gradients.
        """
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / max(1, self.steps)))
        read_U = torch.zeros(network.units, dtype=torch.bool)
        for batch in batches:
            drawn = gates(batch)
            read = drawn.clone()
            read.retain_grad()
            logits = primary_output(network(batch.images, read, recalibrated=True), output)
            require_gradients(model, logits, self.instead or "a criterion that asks for none")
            optimizer.zero_grad()
            torch.autograd.backward(answer_loss(logits, batch) + gates.penalty(drawn))
            read_U |= (read.grad != 0).reshape(-1, network.units).any(0)
            optimizer.step()
            schedule.step()
        return read_U


def answer_loss(logits: Tensor, batch: GateBatch) -> Tensor:
    """Mean cross-entropy with the labels, else with the dense answers: the divergence from these, and a constant."""
    if batch.labels is None:
        return functional.cross_entropy(logits, batch.answers.softmax(1))
    total = functional.cross_entropy(logits, batch.labels, reduction="sum", ignore_index=IGNORED)
    return total / max(1, int((batch.labels != IGNORED).sum()))


def hard(soft: Tensor, opened: Tensor) -> Tensor:
    """0 or 1 as ``opened`` says, with the gradient of ``soft`` (straight-through, Bengio et al. 2013)."""
    return opened.to(soft) + (soft - soft.detach())


def unit_norms(space: "SearchSpace", model: nn.Module) -> Tensor:
    """Norms of the weights that make and read each unit, ``(U,)``: see :class:`GateProblem`."""
    norms = []
    for group in space.groups:
        norm_U = torch.zeros(group.units, dtype=torch.float64)
        norm_U[torch.from_numpy(group.unit_of_channel)] = GroupNorm()(group, model)
        norms.append(norm_U)
    return torch.cat(norms)


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2
