"""What the criteria share that train a gate per channel, while the network's weights stay as they are.

Shapes: N images, K classes, U units of all groups in order.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.calibration.recalibrate import like_weights
from eyas.pruning.calibration_set import CalibrationSet
from eyas.pruning.criteria.group_norm import GroupNorm
from eyas.pruning.criteria.image_criterion import ImageCriterion
from eyas.pruning.criteria.loss_gradients import (
    IGNORED,
    PerEntry,
    require_classes,
    require_gradients,
    require_labels,
)
from eyas.pruning.criteria.norms import per_channel
from eyas.pruning.gated_network import GatedNetwork
from eyas.pruning.groups import ChannelGroup
from eyas.pruning.output_paths import primary_output
from eyas.pruning.tracing.trace import trace

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
    """Trainable gates, one per unit; made by a criterion for one network."""

    def forward(self, batch: GateBatch) -> Tensor:
        """Gates ``(U,)``, or of each image ``(N, U)``; float64 on the CPU, differentiable."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its gates are")

    def penalty(self, gates: Tensor) -> Tensor:
        """What is added to the loss of the answers; ``gates`` are those of the step."""
        return gates.new_zeros(())

    def importance(self) -> Tensor:
        """Of each unit after the training, ``(U,)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it learned")


class GateCriterion(ImageCriterion):
    """Rates channels by gates, each multiplied with a channel where it is read, that are trained on calibration images.

    The weights are frozen. Batch-norm normalises by the statistics of each batch, as a pruned network is recalibrated.
    """

    labels: bool = False
    """Read the labels of the calibration images; else the answers of the dense network are the targets."""
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Of the training; the rate falls to 0 by a cosine."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Images per step."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the images of each step, and what is drawn for the gates."""

    @property
    def reads_labels(self) -> bool:
        """As ``labels`` says."""
        return self.labels

    def gates(self, problem: GateProblem) -> Gates:
        """The gates to train, as they are at first."""
        raise NotImplementedError(f"{type(self).__name__} does not say what gates it has")

    def optimizer(self, gates: Gates) -> torch.optim.Optimizer:
        """What trains them."""
        raise NotImplementedError(f"{type(self).__name__} does not say what trains its gates")

    def prepare_groups(self, space: "SearchSpace", model: nn.Module, data: Any) -> PerEntry:
        """The importance at each entry of the weights that read channels; all groups are trained together."""
        return self._prepared(data, partial(self.trained, space, model))

    def observe(self, model: nn.Module, data: CalibrationSet) -> PerEntry:
        """As :meth:`prepare_groups`, with the groups that the network has when it is traced on these images."""
        return self.trained(trace(model, (like_weights(model, data.images[:2]),)), model, data)

    def trained(self, space: "SearchSpace", model: nn.Module, data: CalibrationSet) -> PerEntry:
        """Train the gates and read the importance from them; the network stays as it was.

        Raises:
            DataError: the answers are no classes, the labels do not fit them, or there are no gradients.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            network = GatedNetwork(model, space)
            batches = self._batches(network, model, data)
            problem = GateProblem(network, space, _norms(space, model), next(batches))
            if not network.gated:
                return {}
            gates = self.gates(problem)
            read_U = self._train(network, model, data, gates, batches)
            importance_U = gates.importance().detach()
            importance_U = torch.where(read_U | ~read_U.any(), importance_U, importance_U.min() - 1)
            padded = torch.cat([importance_U, importance_U.new_zeros(1)])
            return {place: padded[network.entries[place]] for place in network.gated}

    def __call__(self, group: ChannelGroup, model: nn.Module, data: Any = None) -> Tensor:
        """Importance of each channel, shape ``(group.channels,)``; ``data`` are images, or what ``prepare`` gave.

        What no layer reads that was called is rated by ``group_norm``.
        """
        ratings = self.prepare(model, data)
        for member in group.members:
            if member.role == "in" and (member.parameter, member.dim) in ratings:
                rating_U = ratings[member.parameter, member.dim][torch.from_numpy(member.positions[:, 0])]
                return per_channel(group, [rating_U])
        return GroupNorm()(group, model)

    def _train(
        self, network: GatedNetwork, model: nn.Module, data: CalibrationSet, gates: Gates, batches: Iterator[GateBatch]
    ) -> Tensor:
        """Whether the answers changed with each unit's gate in any step, ``(U,)``."""
        optimizer = self.optimizer(gates)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _cosine(step / max(1, self.steps)))
        read_U = torch.zeros(network.units, dtype=torch.bool)
        for batch in batches:
            drawn = gates(batch)
            read = drawn.clone()
            read.retain_grad()
            logits = primary_output(network(batch.images, read, recalibrated=True), data.output)
            require_gradients(model, logits)
            optimizer.zero_grad()
            torch.autograd.backward(answer_loss(logits, batch) + gates.penalty(drawn))
            read_U |= (read.grad != 0).reshape(-1, network.units).any(0)
            optimizer.step()
            schedule.step()
        return read_U

    def _batches(self, network: GatedNetwork, model: nn.Module, data: CalibrationSet) -> Iterator[GateBatch]:
        """Images of each step, with what the dense network answers; one more, the first, to look at."""
        generator = torch.Generator().manual_seed(self.seed)
        for step in itertools.chain([0], range(self.steps)):
            chosen = torch.randperm(len(data.images), generator=generator)[: self.batch_size]
            images = like_weights(model, data.images[chosen]).clone()
            with torch.no_grad():
                dense = network(images, torch.ones(network.units, dtype=torch.float64))
            answers = primary_output(dense, data.output)
            require_classes(answers)
            labels = None
            if self.labels and data.labels is not None:
                labels = data.labels[chosen].to(answers.device, torch.int64)
                require_labels(labels, answers)
            yield GateBatch(images, answers, labels, step / max(1, self.steps), generator)


def answer_loss(logits: Tensor, batch: GateBatch) -> Tensor:
    """Mean cross-entropy with the labels, else with the dense answers: the divergence from these, and a constant."""
    if batch.labels is None:
        return functional.cross_entropy(logits, batch.answers.softmax(1))
    total = functional.cross_entropy(logits, batch.labels, reduction="sum", ignore_index=IGNORED)
    return total / max(1, int((batch.labels != IGNORED).sum()))


def hard(soft: Tensor, opened: Tensor) -> Tensor:
    """0 or 1 as ``opened`` says, with the gradient of ``soft`` (straight-through, Bengio et al. 2013)."""
    return opened.to(soft) + (soft - soft.detach())


def _norms(space: "SearchSpace", model: nn.Module) -> Tensor:
    norms = []
    for group in space.groups:
        norm_U = torch.zeros(group.units, dtype=torch.float64)
        norm_U[torch.from_numpy(group.unit_of_channel)] = GroupNorm()(group, model)
        norms.append(norm_U)
    return torch.cat(norms)


def _cosine(progress: float) -> float:
    return (1 + math.cos(math.pi * progress)) / 2
