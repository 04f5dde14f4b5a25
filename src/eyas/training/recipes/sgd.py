"""Stochastic gradient descent with Nesterov momentum, a warmed-up cosine schedule, and distillation."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from eyas.component import Options
from eyas.errors import ParameterError
from eyas.training.guidance import Guidance
from eyas.training.recipes.scheduled import ScheduledRecipe
from eyas.training.references import Reference, import_reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from eyas.training.optimiser_step import Networks, Objective, WeightedLabels

_USUAL_ALPHA = 0.9


class Distillation(Options):
    r"""Learning from the dense network's outputs beside the labels.

    .. math:: L = (1 - a) CE(z_s, y) + a T^2 KL(softmax(z_t / T) || softmax(z_s / T))

    Hinton et al. 2015 (arXiv:1503.02531); with a = 0.9 and T = 4 in TAS (arXiv:1905.09717).
    """

    alpha: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the teacher's outputs; 1 ignores the labels, 0 the teacher. Without it 0.9, and 1 where images have no
    labels."""
    temperature: Annotated[float, Field(gt=0)] = 4.0
    """Softens both outputs."""

    @property
    def weight(self) -> float:
        """``alpha``, where there are labels."""
        return _USUAL_ALPHA if self.alpha is None else self.alpha

    def __call__(self, student_NK: "Tensor", teacher_NK: "Tensor") -> "Tensor":
        """``T^2 KL(teacher || student)``, mean over N images; its gradient is ``T (p_s - p_t) / N``."""
        from torch.nn import functional

        divergence = functional.kl_div(
            functional.log_softmax(student_NK / self.temperature, dim=1),
            functional.log_softmax(teacher_NK / self.temperature, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return divergence * self.temperature**2


class SGD(ScheduledRecipe):
    """SGD with Nesterov momentum, linear warm-up and cosine decay to zero (arXiv:1608.03983, no restarts).

    Use it as a rule, for the dense network and for what is pruned: it is the default, and learns from the dense network
    beside the labels where there is one. Losses, augmentation and optimisers are options of it.
    """

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["sgd"] = "sgd"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the label's mass that is spread over all classes."""
    loss_function: Reference | None = Field(default=None, alias="loss")
    """Instead of cross-entropy, ``package.module:function`` of logits (N, K) and labels (N,), which returns the mean
    over N. Distillation joins it as it joins cross-entropy."""
    mixup: Annotated[float, Field(gt=0)] | None = None
    """Blends the images of a batch in pairs, by shares of Beta(a, a) with this a (arXiv:1710.09412: 0.2 to 1). For long
    trainings that learn their images by heart; the dense network is asked about the blends."""
    cutmix: Annotated[float, Field(gt=0)] | None = None
    """Takes a box of each image from another, by shares of Beta(a, a) with this a (arXiv:1905.04899: 1). Beside
    ``mixup`` a coin decides for each batch."""
    distillation: Distillation | None = Distillation()
    """Learn from the dense network where there is one (fine-tuning)."""
    guidance: Guidance | None = None
    """Learn from the dense network's features, too, where there is one: for networks that lost most of their channels
    and have little time or data to learn."""

    def check(self) -> None:
        """Import the functions that it names."""
        super().check()
        if self.loss_function is not None:
            import_reference(self.loss_function)

    @model_validator(mode="after")
    def _loss_counts(self) -> Self:
        if self.loss_function and self.label_smoothing:
            msg = "label_smoothing is of cross-entropy: leave it out beside a loss of your own"
            raise ValueError(msg)
        if self.loss_function and self.distillation and self.distillation.alpha == 1:
            msg = "distillation.alpha 1 leaves the loss no weight: lower it, or leave one of both out"
            raise ValueError(msg)
        return self

    @property
    def wants_teacher(self) -> bool:
        """Whether distillation has a weight, or features guide."""
        return self.guidance is not None or (self.distillation is not None and self.distillation.weight > 0)

    @property
    def needs_whole_batch(self) -> bool:
        """Whether ``guidance`` compares the images of a batch with each other, too."""
        by_batch = self.guidance is not None and self.guidance.measure == "cka"
        return super().needs_whole_batch or by_batch

    def without_labels(self) -> "SGD":
        """Distillation alone."""
        if self.distillation is None or self.distillation.alpha not in {None, 1}:
            weight = "is null" if self.distillation is None else f"has alpha {self.distillation.alpha:g}"
            msg = f"without labels the dense network is all there is to learn from, and `distillation` {weight}"
            raise ParameterError(f"{msg}: leave it out, or give alpha 1")
        if self.loss_function is not None:
            raise ParameterError("a loss of your own reads labels, and there are none: leave it out")
        return self.model_copy(update={"distillation": self.distillation.model_copy(update={"alpha": 1.0})})

    def mix(
        self, images_NCHW: "Tensor", labels_N: "Tensor", generator: "torch.Generator"
    ) -> "tuple[Tensor, WeightedLabels]":
        """As ``mixup`` and ``cutmix`` say."""
        import torch

        from eyas.training.mixing import cutmix, mixup

        if self.mixup is None and self.cutmix is None:
            return images_NCHW, ((labels_N, 1.0),)
        both = self.mixup is not None and self.cutmix is not None
        blend = self.cutmix is None or (both and float(torch.rand((), generator=generator)) < 0.5)
        if blend and self.mixup is not None:
            return mixup(images_NCHW, labels_N, self.mixup, generator)
        assert self.cutmix is not None
        return cutmix(images_NCHW, labels_N, self.cutmix, generator)

    def objective(self, networks: "Networks") -> "Objective":
        """The loss of the answers, and of the features where ``guidance`` asks for them."""
        from eyas.training.guided_loss import GuidedLoss

        if self.guidance is None or networks.teacher is None:
            return super().objective(networks)
        return GuidedLoss(self, networks, self.guidance)

    def loss(self, logits_NK: "Tensor", labels_N: "Tensor", teacher_NK: "Tensor | None") -> "Tensor":
        """Cross-entropy, mixed with distillation where a teacher's logits are given."""
        if teacher_NK is None or self.distillation is None:
            return self._label_loss(logits_NK, labels_N)
        alpha = self.distillation.weight
        loss = alpha * self.distillation(logits_NK, teacher_NK)
        if alpha < 1:
            loss = loss + (1 - alpha) * self._label_loss(logits_NK, labels_N)
        return loss

    def _label_loss(self, logits_NK: "Tensor", labels_N: "Tensor") -> "Tensor":
        from torch.nn import functional

        if self.loss_function is None:
            return functional.cross_entropy(logits_NK, labels_N, label_smoothing=self.label_smoothing)
        return import_reference(self.loss_function)(logits_NK, labels_N)  # type: ignore[no-any-return]
