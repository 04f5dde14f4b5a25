"""Steps of the user's own, in the loop that judges, keeps and resumes."""

import inspect
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from eyas.errors import ParameterError, one_line
from eyas.training.optimiser_step import Networks, Step, WeightedLabels
from eyas.training.recipes.scheduled import ScheduledRecipe
from eyas.training.references import Reference, import_reference


class Custom(ScheduledRecipe):
    """Steps that a function of one's own takes.

    Use it for several passes or losses a step, or a step that no optimiser takes (docs/extending.md has one). The loop
    draws and changes the images, sets the rate, judges every epoch, keeps the best, and goes on after a kill. A loss or
    an augmentation alone needs no step: ``sgd`` takes both. A recipe with a name and options of its own is a plugin.
    """

    kind: Literal["custom"] = "custom"
    factory: Reference | None = None
    """``package.module:function``, called once with ``model``, ``teacher`` (None where there is none), ``optimizer``
    and ``arguments``. It returns a function of images (N, C, H, W) and labels, which takes a step and returns its
    loss."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the factory."""

    @model_validator(mode="after")
    def _own_step_does_the_rest(self) -> Self:
        for name in ("clip_norm", "adaptive_clip", "layer_freezing", "frozen_statistics"):
            if getattr(self, name):
                raise ValueError(f"{name} belongs into the step that the factory returns: leave it out")
        if self.precision != "float32":
            raise ValueError("precision belongs into the step that the factory returns (torch.autocast): leave it out")
        return self

    def check(self) -> None:
        """Import the factory, and see that it takes what it will be given."""
        super().check()
        if self.factory is None:
            raise ParameterError("recipe custom needs `factory`: name your function as package.module:function")
        function = import_reference(self.factory)
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):  # written in C: its call will tell
            return
        try:
            signature.bind(model=None, teacher=None, optimizer=None, **self.arguments)
        except TypeError as error:
            msg = f"`factory` {self.factory} cannot be called with model, teacher, optimizer and `arguments`: {error}"
            raise ParameterError(msg) from error

    @property
    def wants_teacher(self) -> bool:
        """The step decides what it does with it."""
        return True

    def without_labels(self) -> Self:
        """The same: labels are then the classes that the dense network answers."""
        return self

    def make_step(self, networks: Networks, optimiser: torch.optim.Optimizer) -> Step:
        """What the factory returns.

        Raises:
            ParameterError: it fails, or returns no function.
        """
        self.check()
        assert self.factory is not None
        try:
            step = import_reference(self.factory)(
                model=networks.model, teacher=networks.teacher, optimizer=optimiser, **self.arguments
            )
        except Exception as error:
            msg = f"`factory` {self.factory} fails with {type(error).__name__}: {one_line(error)}"
            raise ParameterError(msg) from error
        if not callable(step):
            msg = f"`factory` {self.factory} returns a {type(step).__name__}: return a function of images and labels"
            raise ParameterError(msg)
        return _OwnStep(step, self.factory)


class _OwnStep:
    """Says in words what a step of the user's own did wrong."""

    def __init__(self, step: Any, factory: str) -> None:
        self.step, self.factory = step, factory

    def __call__(self, images_NCHW: Tensor, answers: WeightedLabels) -> Tensor:
        """The loss, without its gradient."""
        ((labels_N, _),) = answers
        try:
            loss = self.step(images_NCHW, labels_N.long())
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            msg = f"the step of `factory` {self.factory} fails with {type(error).__name__}: {one_line(error)}"
            raise ParameterError(msg) from error
        loss = torch.as_tensor(loss, device=images_NCHW.device) if isinstance(loss, (int, float)) else loss
        if not isinstance(loss, Tensor) or loss.ndim:
            what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ParameterError(f"the step of `factory` {self.factory} returns {what}: return the loss, a scalar")
        return loss.detach()
