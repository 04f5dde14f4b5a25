"""The root of the recipes: what a recipe promises."""

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, field_validator, model_validator

from eyas.component import Component
from eyas.errors import ParameterError
from eyas.training.layer_freezing import LayerFreezing
from eyas.training.references import is_reference

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from eyas.training.optimiser_step import Networks, Objective, Step, WeightedLabels


class Recipe(Component):
    """How a network is trained: optimiser, schedule, loss, augmentation.

    The loop (:func:`eyas.training.train`) owns order, seeds, devices and checkpoints; a recipe holds no state.
    """

    batch_size: Annotated[int, Field(ge=2)] | None = None
    """Images per step; without it 128, or fewer (64, 32, 16) where an epoch would have less than 20 steps."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the train images that is trained on, drawn at random from each class alike, the same in every epoch:
    with distillation a half does nearly what all do in half the time (arXiv:2403.07854)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of forward and backward passes; weights, statistics, loss and evaluation stay float32. Faster on GPUs, and on
    CPUs with AVX512-BF16 or AMX (ResNet-20: 539 against 349 images per second and core); slow on others."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Judge after every epoch an exponential moving average of weights and batch-norm statistics, too, with this decay
    per step (the first steps forget sooner), and keep it where it is better than the weights themselves. For long
    trainings at a high rate; where the rate falls to zero the weights hardly differ from their average."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of all gradients together, in each step; larger ones are scaled down (arXiv:1211.5063)."""
    adaptive_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of a filter's gradient, as a share of the norm of its weights: 0.01 as published (arXiv:2102.06171),
    up to 0.16 for small batches. Steadies networks of which much was pruned, and those without batch-norm."""
    frozen_statistics: bool = False
    """Batch-norm keeps its running statistics while weights learn, computed in the weights of the convolution before it
    (tune mode, arXiv:2305.11624): for batches of a few images, whose own statistics are noise, and for memory: the
    backward pass of a ResNet-20 needs 0.55 of it. Only at small rates: at a quarter of
    the MACs it lost 6 points at 0.002, came to chance at 0.01 and diverged at 0.05."""
    layer_freezing: LayerFreezing | None = None
    """Lets few blocks learn at a time, drawn anew at times (arXiv:2403.17919): for a device whose memory does not hold
    gradients and moments of all; what it costs in accuracy grows with what is frozen."""
    optimizer: str | None = None
    """Another optimiser than the recipe's own: one of ``torch.optim`` by name (``adamw``, ``rmsprop``), ``lars`` or
    ``lamb`` for batches of thousands, or a class as ``package.module:Class``. What is left out of learning rate,
    momentum and weight decay is then its own default."""
    optimizer_arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the optimiser, as in ``{betas: [0.9, 0.99]}``."""

    @field_validator("optimizer_arguments")
    @classmethod
    def _numbers(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """YAML takes ``1e-8`` for a text."""
        return {name: _number(value) for name, value in arguments.items()}

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_optimizer(cls, content: Any) -> Any:
        name = content.get("optimizer") if isinstance(content, Mapping) else None
        if not isinstance(name, str):
            return content
        name = name if is_reference(name) else name.lower()
        if name == cls.model_fields["optimizer"].default:
            return {**content, "optimizer": name}
        from eyas.training.optimizers import optimizer_defaults

        left_out = {field: value for field, value in optimizer_defaults(name).items() if field in cls.model_fields}
        return {**left_out, **content, "optimizer": name}

    @model_validator(mode="after")
    def _optimizer_steps(self) -> Self:
        if self.optimizer is None and self.optimizer_arguments:
            msg = "optimizer_arguments are of an optimizer: name it, as in optimizer: adamw"
            raise ValueError(msg)
        if self.has_other_optimizer or self.optimizer_arguments:
            from eyas.training.optimizers import try_optimizer

            try_optimizer(str(self.optimizer), self.make_optimiser)
        return self

    def check(self) -> None:
        """See that what it names of the user's own is here.

        Raises:
            ParameterError: it is not.
        """

    @property
    def has_other_optimizer(self) -> bool:
        """Whether an optimiser is asked for that is not the recipe's own."""
        return bool(self.optimizer != type(self).model_fields["optimizer"].default)

    def make_optimiser(self, model: "nn.Module") -> "torch.optim.Optimizer":
        """The optimiser that training uses: the recipe's own, or the one that is asked for instead."""
        return self.named_optimiser(model) if self.has_other_optimizer else self.optimiser(model)

    def named_optimiser(self, model: "nn.Module", **arguments: Any) -> "torch.optim.Optimizer":
        """:attr:`optimizer`, with what the recipe says of learning rate, momentum and weight decay.

        Args:
            model: all its parameters learn.
            arguments: of the optimiser, where :attr:`optimizer_arguments` say nothing else.
        """
        from eyas.training.optimizers import SHARED, make_optimizer

        arguments |= self.optimizer_arguments
        shared = {field: getattr(self, field) for field in SHARED if field in type(self).model_fields}
        return make_optimizer(str(self.optimizer), self.parameter_groups(model), shared, arguments)

    def parameter_groups(self, model: "nn.Module") -> list[dict[str, Any]]:
        """All parameters that learn, as groups that a named optimiser takes."""
        return [{"params": [parameter for parameter in model.parameters() if parameter.requires_grad]}]

    @property
    def wants_teacher(self) -> bool:
        """Whether :meth:`loss` uses the teacher's logits; without, the teacher is never run."""
        return False

    @property
    def needs_whole_batch(self) -> bool:
        """Whether several processes cannot share a batch: steps are the recipe's own, or its loss is no mean."""
        return type(self).make_step is not Recipe.make_step

    def for_trained(self, batch_size: int) -> "Recipe":
        """This recipe for a network that was trained before, in batches of ``batch_size``.

        A rate that suits large batches and random weights can destroy what such a network knows.
        """
        del batch_size
        return self

    def without_labels(self) -> "Recipe":
        """This recipe where images have no labels: the teacher's outputs are all that its loss reads.

        Raises:
            ParameterError: its loss needs labels.
        """
        msg = f"recipe {self.kind} learns from labels, and there are none"
        raise ParameterError(msg)

    def optimiser(self, model: "nn.Module") -> "torch.optim.Optimizer":
        """The recipe's own, over all parameters of ``model``."""
        if self.optimizer is None:
            raise NotImplementedError(f"{type(self).__name__} does not say how it steps")
        return self.named_optimiser(model)

    def clip(self, model: "nn.Module") -> None:
        """Scale down gradients that are too large, in place."""
        from torch import nn

        from eyas.training.gradient_clipping import clip_adaptively

        if self.adaptive_clip is not None:
            clip_adaptively(model, self.adaptive_clip)
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)

    def rate(self, epoch: float, epochs: int) -> float:
        """Learning rate after ``epoch`` (a fraction counts steps) of ``epochs`` passes."""
        raise NotImplementedError(f"{type(self).__name__} has no schedule")

    def augment_stored(self, images_NCHW: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Changed images as they are stored, before they are normalised; of the same shape and type."""
        del generator
        return images_NCHW

    def augment(self, images_NCHW: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Changed images of the same shape; all randomness from ``generator`` (on the CPU)."""
        del generator
        return images_NCHW

    def augment_with_masks(
        self, images_NCHW: "Tensor", masks_NHW: "Tensor", generator: "torch.Generator"
    ) -> "tuple[Tensor, Tensor]":
        """:meth:`augment`, and class numbers per pixel moved as their images are.

        Raises:
            ParameterError: the recipe changes images, and does not say how masks follow.
        """
        if type(self).augment is not Recipe.augment:
            msg = f"recipe {self.kind} changes images and not their masks: give it augment_with_masks, or take another"
            raise ParameterError(msg)
        return images_NCHW, masks_NHW

    def mix(
        self, images_NCHW: "Tensor", labels_N: "Tensor", generator: "torch.Generator"
    ) -> "tuple[Tensor, WeightedLabels]":
        """Images of a batch mixed with each other, and the labels of each by weight; here as they are."""
        del generator
        return images_NCHW, ((labels_N, 1.0),)

    def objective(self, networks: "Networks") -> "Objective":
        """What a step minimises: :meth:`loss` of both networks' logits. Called once, before the first step."""
        from eyas.training.optimiser_step import RecipesLoss

        return RecipesLoss(self, networks)

    def whole_objective(self, networks: "Networks") -> "Objective":
        """:meth:`objective`, with what every recipe can add to it.

        Raises:
            ParameterError: the networks have not what the recipe works on.
        """
        objective = self.objective(networks)
        if not self.frozen_statistics:
            return objective
        from eyas.training.frozen_statistics import FrozenStatisticsLoss

        return FrozenStatisticsLoss(objective, networks)

    def make_step(self, networks: "Networks", optimiser: "torch.optim.Optimizer") -> "Step":
        """What takes a step on a batch; called once, before the first."""
        from eyas.training.optimiser_step import OptimiserStep

        return OptimiserStep(self, self.whole_objective(networks), networks.model, optimiser)

    def loss(self, logits_NK: "Tensor", labels_N: "Tensor", teacher_NK: "Tensor | None") -> "Tensor":
        """What is minimised: a scalar, the mean over N images."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it minimises")


def _number(value: Any) -> Any:
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


AnyRecipe = Annotated[SerializeAsAny[Recipe], BeforeValidator(Recipe.validated)]
