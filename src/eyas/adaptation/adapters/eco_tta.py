"""Small networks beside a frozen one learn on the stream, held to what the frozen one makes."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.affine_descent import entropy, remembered_sgd
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.adaptation.adapters.layer_statistics import PooledAdaptation
from eyas.adaptation.adapters.network_parts import NetworkParts, cut_points
from eyas.adaptation.source_images import SourceImages
from eyas.calibration.recalibrate import even_batches
from eyas.errors import ParameterError

_BATCH = 64


class EcoTta(Adapter):
    r"""Side networks at the parts of a frozen network (Song et al. 2023, arXiv:2303.01904).

    Part k, :math:`F_k`, gives :math:`y = BN(F_k(x)) + ReLU(BN(c(x)))` on; c is a depthwise convolution of 3 x 3 and
    one of 1 x 1, :math:`x` averaged to the size of the part's output (convolutions of 3 x 3 as published are as large
    as the network). Parts end where all paths pass, behind about equally many batch-norm layers each. Before the field
    the side networks learn the network's own answers to images of the training; there each batch takes a step of SGD
    down :math:`\overline{H}` of the answers whose entropy is below ``margin`` :math:`\ln K` plus
    :math:`\lambda \sum_k \overline{|y - F_k(x)|}`, the terms of the sum each by itself. Of the frozen network the
    activations of one part at a time are kept, computed once more.

    Use it on a device that goes on learning where ``tent`` needs too much memory and all classes are in each batch: it
    follows a field as ``ada_bn`` does and gives up less on clean images, but on a stream that is sorted by class it
    loses most of all (a ResNet-20 on CIFAR-10 went from 88 to 29 %). It answers by more layers than the network has,
    and ends in no network that can be exported.
    """

    kind: Literal["eco_tta"] = "eco_tta"
    needs_source: ClassVar[bool] = True
    needs_backward: ClassVar[bool] = True
    foldable: ClassVar[bool] = False
    min_batch: ClassVar[int] = 2
    parts: Annotated[int, Field(ge=1, le=1000)] = 4
    """At most so many parts have a side network."""
    strength: Annotated[float, Field(ge=0)] = 0.5
    """The lambda that holds them to the frozen network."""
    rate: Rate = 5e-3
    """Of SGD in the field."""
    margin: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Share of the largest entropy from which an answer teaches nothing."""
    source_weight: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What the frozen network's own statistics count for; the field's for the rest, as in ``alpha_bn``."""
    warm_up: Annotated[int, Field(ge=0, le=10_000)] = 10
    """Epochs over the images of the training."""
    warm_up_rate: Rate = 0.01
    """Of SGD there."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        assert source is not None
        return _BesideFrozen(self, model, SourceImages.answered(model, source))


class SideNetwork(nn.Module):
    """What stands beside a part; both batch-norms take the statistics of the batch.

    Args:
        inputs: channels of the part's input.
        outputs: channels of the part's output.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, track_running_stats=False)
        self.meta = nn.BatchNorm2d(outputs, track_running_stats=False)

    def forward(self, inputs: Tensor, frozen: Tensor) -> Tensor:
        """What goes on in the place of the part's output.

        Args:
            inputs: of the part.
            frozen: its output.
        """
        if inputs.shape[2:] != frozen.shape[2:]:
            inputs = functional.adaptive_avg_pool2d(inputs, (frozen.shape[2], frozen.shape[3]))
        gone_on: Tensor = self.meta(frozen) + self.norm(self.pointwise(self.depthwise(inputs))).relu()
        return gone_on


class PartPass(NamedTuple):
    """A batch at one part: what goes in, what the frozen part makes of it, and what goes on in its place."""

    inputs: Tensor
    frozen: Tensor
    output: Tensor


class _BesideFrozen(PooledAdaptation):
    adapter: EcoTta

    def __init__(self, adapter: EcoTta, model: nn.Module, source: SourceImages) -> None:
        super().__init__(adapter, model)
        cuts = cut_points(model, source.images[: adapter.min_batch], adapter.parts)
        if not cuts:
            msg = f"`model` has no stage that all its paths pass: {adapter.kind} stands beside these; take alpha_bn"
            raise ParameterError(msg)
        self.parts = NetworkParts(model, cuts)
        self.sides = self._initial_sides(source.images[: 4 * _BATCH])
        self._warm_up(source)
        learnt = {f"side.{name}": parameter for name, parameter in self.sides.named_parameters()}
        self.memory |= learnt
        self.optimiser = remembered_sgd(learnt, adapter.rate, self.memory)

    @property
    def source_weight(self) -> float:
        return self.adapter.source_weight

    @torch.no_grad()
    def _initial_sides(self, images: Tensor) -> nn.ModuleList:
        """Side networks that change little: their outputs have the moments of the parts' own."""
        sides, channels = nn.ModuleList(), [images.shape[1]]

        def add(_number: int, frozen: Tensor) -> None:
            side = SideNetwork(channels[-1], frozen.shape[1])
            deviation_C, mean_C = torch.std_mean(frozen, (0, 2, 3), correction=0)
            side.meta.weight.copy_(deviation_C)
            side.meta.bias.copy_(mean_C)
            nn.init.constant_(side.norm.weight, 0.1)  # behind a ReLU 0 would never learn
            sides.append(side.to(frozen))
            channels.append(frozen.shape[1])

        with self.parts.visited(add):
            self.model(images)
        return sides

    def _warm_up(self, source: SourceImages) -> None:
        optimiser = torch.optim.SGD(self.sides.parameters(), self.adapter.warm_up_rate, momentum=0.9)
        for _ in range(self.adapter.warm_up):
            order = torch.randperm(len(source.labels)).to(source.labels.device)
            for rows in even_batches(order, _BATCH):
                images = source.images[rows]
                optimiser.zero_grad()
                with torch.no_grad(), self.beside(images) as passes:
                    logits = self.model(images)
                self.descend(images, passes, logits, partial(functional.cross_entropy, target=source.labels[rows]))
                optimiser.step()

    @contextmanager
    def beside(self, images: Tensor) -> Iterator[list[PartPass]]:
        """A pass through the network inside goes by the side networks, and is noted."""
        passes: list[PartPass] = []

        def go_on(number: int, frozen: Tensor) -> Tensor:
            inputs = passes[-1].output if passes else images
            passes.append(PartPass(inputs, frozen, self.sides[number](inputs, frozen)))
            return passes[-1].output.clone()  # what follows may change it in place

        with self.parts.visited(go_on):
            yield passes

    def step(self, images: Tensor) -> Tensor:
        self.optimiser.zero_grad()
        with self.beside(images) as passes:
            logits = super().step(images)
        with torch.enable_grad():
            for side, part in zip(self.sides, passes, strict=True):
                self.penalty(side(part.inputs, part.frozen), part.frozen).backward()  # type: ignore[no-untyped-call]
        if sure_answers(logits, self.adapter.margin).any():
            self.descend(images, passes, logits, partial(sure_entropy, margin=self.adapter.margin))
        self.optimiser.step()
        return logits

    def penalty(self, output: Tensor, frozen: Tensor) -> Tensor:
        """How far a part's output is from what the frozen part makes."""
        return self.adapter.strength * (output - frozen).abs().mean()

    def descend(self, images: Tensor, passes: list[PartPass], logits: Tensor, loss: Callable[[Tensor], Tensor]) -> None:
        """Gradients of a loss of the logits into the side networks, one part after the other from behind."""
        ends = [part.output for part in passes]
        answer = logits.detach().requires_grad_()
        with torch.enable_grad():
            gradient = torch.autograd.grad(loss(answer), answer)[0]
            for number in range(len(ends), -1, -1):
                inputs = ends[number - 1].detach().requires_grad_() if number else images
                output = self.parts.run(images, number, inputs)
                if number < len(ends):
                    output = self.sides[number](inputs, output)
                output.backward(gradient)  # type: ignore[no-untyped-call]
                if inputs.grad is not None:
                    gradient = inputs.grad


def sure_answers(logits_NK: Tensor, margin: float) -> Tensor:
    """Which answers have an entropy below a share of the largest, ``(N,)``."""
    entropy_N: Tensor = torch.special.entr(logits_NK.softmax(1)).sum(1)
    return entropy_N < margin * math.log(logits_NK.shape[1])


def sure_entropy(logits_NK: Tensor, margin: float) -> Tensor:
    """Mean entropy of these answers, in nats; there must be one."""
    return entropy(logits_NK[sure_answers(logits_NK, margin)])
