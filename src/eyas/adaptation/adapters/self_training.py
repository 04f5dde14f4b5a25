"""Adaptation by a network's own answers: a student learns what its teacher, an average of its past, is sure of."""

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from eyas.adaptation.adapters.affine_descent import remembered_adam
from eyas.adaptation.adapters.base import Adapter
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation
from eyas.calibration.batchnorm import batch_statistics


class SelfTraining(PooledAdaptation):
    r"""Per batch: the teacher answers by statistics of the field, the student takes a step, the teacher follows.

    The network is the teacher: :math:`\phi \leftarrow a\phi + (1 - a)\theta` with
    :math:`a = \min(1 - 1/(t + 1), 0.999)` after t batches; the student's step is Adam's. It normalises each batch by
    its own statistics, batches of different fields apart.
    """

    def __init__(
        self, adapter: Adapter, model: nn.Module, learnt: Mapping[str, Tensor], *, rate: float, confidence: float
    ) -> None:
        super().__init__(adapter, model)
        self.confidence = confidence
        self.places = parameter_places(model)
        self.student = {name: tensor.detach().clone().requires_grad_() for name, tensor in learnt.items()}
        self.teacher = {name: tensor.detach().clone() for name, tensor in learnt.items()}
        for role, tensors in (("student", self.student), ("teacher", self.teacher)):
            self.memory |= {f"{role}.{name}": tensor for name, tensor in tensors.items()}
        self.memory["batches"] = torch.zeros((), dtype=torch.int64)
        self.memory["seed"] = torch.randint(2**31, ())
        self.optimiser = remembered_adam(self.student, rate, self.memory)

    def weights(self, learnt: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The network's parameters that ``learnt`` makes, by name."""
        return dict(learnt)

    @abstractmethod
    def loss(self, images: Tensor, labels_N: Tensor, sure: float, generator: torch.Generator) -> Tensor:
        """What the student shrinks.

        Args:
            images: of the field.
            labels_N: what the teacher answers to each.
            sure: the share of them that it is sure of.
            generator: seeded by the batch's number.
        """

    def answer(self, images: Tensor) -> Tensor:
        """The student's logits."""
        with batch_statistics(self.model):
            named = {
                place: tensor for name, tensor in self.weights(self.student).items() for place in self.places[name]
            }
            logits: Tensor = functional_call(self.model, named, (images,), tie_weights=False)
        return logits

    def step(self, images: Tensor) -> Tensor:
        """Answer by the teacher, teach the student, let the teacher follow."""
        logits = super().step(images)
        probability_N, labels_N = logits.softmax(1).max(1)
        sure = float((probability_N > self.confidence).float().mean())
        batch = int(self.memory["batches"])
        generator = torch.Generator().manual_seed(int(self.memory["seed"]) + batch)
        with torch.enable_grad():
            self.optimiser.zero_grad()
            self.loss(images, labels_N, sure, generator).backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
        self._follow(min(1 - 1 / (batch + 1), 0.999))
        self.memory["batches"] += 1
        return logits

    @torch.no_grad()
    def _follow(self, kept: float) -> None:
        for name, tensor in self.teacher.items():
            tensor.mul_(kept).add_(self.student[name], alpha=1 - kept)
        for name, tensor in self.weights(self.teacher).items():
            self.model.get_parameter(name).copy_(tensor)


def parameter_places(model: nn.Module) -> dict[str, list[str]]:
    """By each name of a parameter, all names that it has in different modules.

    A module with two names is there once: put in twice, and taken out twice, its parameter would be lost.
    """
    named = {
        f"{path}.{name}" if path else name: parameter
        for path, module in model.named_modules()
        for name, parameter in module.named_parameters(recurse=False)
    }
    places: dict[nn.Parameter, list[str]] = {}
    for name, parameter in named.items():
        places.setdefault(parameter, []).append(name)
    return {name: places[parameter] for name, parameter in named.items()}
