"""The root of the surgeries: what a surgery promises."""

import copy
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn


class Surgery(Component):
    """Changes how a dense network is normalised, before it is trained, pruned and exported.

    ``choose`` names the layers, ``apply`` gives the changed copy, which training may follow, and ``finish`` what goes
    on from there. ``finish(apply(...))`` has one structure for one choice of layers, so that a saved network is built
    again without images.
    """

    needs_training: ClassVar[bool] = False
    """The changed network answers otherwise until it was trained; where it is not so, it answers as before."""
    layers: tuple[str, ...] = ()
    """Which layers, by name or shell pattern; without it those that are said above."""

    def changeable(self, model: "nn.Module", example: "Tensor") -> list[str]:
        """Names of the layers that it can change, in order of execution; ``example`` is a batch of images.

        Raises:
            TraceError: the network cannot be captured.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what it changes")

    def usual(self, model: "nn.Module", example: "Tensor") -> list[str]:
        """Those of :meth:`changeable` that are changed where :attr:`layers` are left out."""
        return self.changeable(model, example)

    def with_steps(self, steps: int) -> Self:
        """This surgery for a training of so many steps."""
        del steps
        return self

    def choose(self, model: "nn.Module", example: "Tensor") -> Self:
        """This surgery with its layers by name.

        Raises:
            ParameterError: there is none that it can change, or a pattern names none.
        """
        known = self.changeable(model, example)
        if not known:
            raise ParameterError(f"`surgeries`: {self.kind} {self.nothing_to_change}")
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in known):
                msg = (
                    f"`surgeries`: {self.kind} can change no layer {pattern!r}; it can change "
                    f"{', '.join(known[:8])}{' ...' if len(known) > 8 else ''}"
                )
                raise ParameterError(msg)
        patterns = self.layers or self.usual(model, example)
        chosen = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
        if not chosen:
            raise ParameterError(f"`surgeries`: {self.kind} {self.nothing_to_change}")
        return self.model_copy(update={"layers": tuple(chosen)})

    @property
    def nothing_to_change(self) -> str:
        """What is said of a network that has nothing to change, after the kind."""
        return "finds no layer that it can change: leave it out"

    def apply(self, model: "nn.Module") -> "nn.Module":
        """A changed copy; ``layers`` are names, as :meth:`choose` gives them."""
        changed = copy.deepcopy(model)
        for name in self.layers:
            replace_layer(changed, name, self.change(changed.get_submodule(name)))
        return changed

    def change(self, layer: "nn.Module") -> "nn.Module":
        """What stands in place of a layer, which may be used in it."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it puts in place of a layer")

    def measure(self, changed: "nn.Module", images: "Tensor") -> None:
        """Look at images ``(N, C, H, W)``, normalised, and take down what is measured, in place; answers stay."""

    def finish(self, changed: "nn.Module") -> "nn.Module":
        """The network after training, without what only training needs; it answers as ``changed`` in eval mode."""
        return changed


AnySurgery = Annotated[SerializeAsAny[Surgery], BeforeValidator(Surgery.validated)]


def replace_layer(model: "nn.Module", name: str, layer: "nn.Module") -> None:
    """Put ``layer`` where the module ``name`` stands, in its mode."""
    parent, _, last = name.rpartition(".")
    layer.train(model.get_submodule(name).training)
    setattr(model.get_submodule(parent), last, layer)
