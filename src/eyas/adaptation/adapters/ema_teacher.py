"""Self-training of the whole network, images of the training beside those of the field."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from eyas.adaptation.adapters.adaptation import Adaptation
from eyas.adaptation.adapters.base import Adapter, Rate
from eyas.adaptation.adapters.self_training import SelfTraining
from eyas.adaptation.source_images import SourceImages


class EmaTeacher(Adapter):
    r"""DAFormer's self-training for classifiers (Hoyer et al. 2022, arXiv:2111.14887).

    A student learns images of the training, by the network's answers to them, and images of the field into which a
    rectangle of these is pasted (CutMix), by the answers of a teacher, an average of the student; what the teacher
    says counts by the share q of its answers above ``confidence``. Classes of the training are drawn by
    :math:`P(c) \propto e^{(1 - f_c) / T}`. Batches of both fields are normalised apart; the teacher has statistics of
    the field. Left out are the distance to pretrained features, colour jitter and the schedule of 40,000 steps.

    Use it where images of the training are at hand and thousands of the field; it is the dearest in time and memory.
    """

    kind: Literal["ema_teacher"] = "ema_teacher"
    needs_source: ClassVar[bool] = True
    needs_backward: ClassVar[bool] = True
    min_batch: ClassVar[int] = 2
    rate: Rate = 1e-4
    """Of Adam."""
    confidence: Annotated[float, Field(ge=0, lt=1)] = 0.968
    """Probability from which an answer of the teacher is sure."""
    temperature: Annotated[float, Field(ge=1e-6)] = 0.01
    """The T by which rare classes are preferred; large: all classes alike."""

    def start(self, model: nn.Module, source: Tensor | None) -> Adaptation:
        """See the base for the promise."""
        assert source is not None
        return _Mixed(self, model, SourceImages.answered(model, source))


class _Mixed(SelfTraining):
    adapter: EmaTeacher

    def __init__(self, adapter: EmaTeacher, model: nn.Module, source: SourceImages) -> None:
        learnt = dict(model.named_parameters())
        super().__init__(adapter, model, learnt, rate=adapter.rate, confidence=adapter.confidence)
        self.source = source

    def loss(self, images: Tensor, labels_N: Tensor, sure: float, generator: torch.Generator) -> Tensor:
        source, source_labels_N = self.source.draw(len(images), self.adapter.temperature, generator)
        by_source = functional.cross_entropy(self.answer(source), source_labels_N)
        if not sure:
            return by_source
        mixed, share = cut_mix(images, source, generator)
        logits_NK = self.answer(mixed)
        of_field = functional.cross_entropy(logits_NK, labels_N)
        of_source = functional.cross_entropy(logits_NK, source_labels_N)
        return by_source + sure * ((1 - share) * of_field + share * of_source)


def cut_mix(images: Tensor, source: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """``images`` with one rectangle of ``source``, and the share of pixels that it has (Yun et al. 2019)."""
    height, width = images.shape[2:]
    side = float(torch.rand((), generator=generator)) ** 0.5
    rows, columns = round(side * height), round(side * width)
    top = int(torch.randint(height - rows + 1, (), generator=generator))
    left = int(torch.randint(width - columns + 1, (), generator=generator))
    mixed = images.clone()
    place = (..., slice(top, top + rows), slice(left, left + columns))
    mixed[place] = source[place]
    return mixed, rows * columns / (height * width)
