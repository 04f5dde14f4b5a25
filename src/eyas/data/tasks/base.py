"""The root of the tasks: what a task says of a network's answers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from eyas.component import Component
from eyas.data.tasks.tally import Tally

if TYPE_CHECKING:
    from torch import Tensor


class Task(Component):
    """What a network answers about an image, and how its answers are judged.

    Whoever has labels at hand knows the task by them (``Task.of``); whoever has none reads it from the data set's
    manifest.
    """

    label_dims: ClassVar[int] = 1
    """Dimensions of a tensor of labels; 0 where no labels tell the task."""
    measure: ClassVar[str] = "accuracy"
    """What decides between two networks, as metrics call it."""
    words: ClassVar[str] = "accuracy"
    """The same in a sentence."""
    labelled: ClassVar[bool] = True
    """Whether images say what would be right."""

    def of_part(self, name: str) -> "Task":
        """The task of one part of the data, ``train`` or ``test``."""
        del name
        return self

    def order(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """The classes in the order of a network's outputs, from their names in the order of the data.

        Raises:
            DataError: the data has a class that the network lacks.
        """
        return classes

    @classmethod
    def of(cls, labels: "Tensor") -> "Task":
        """The task that labels of this shape are of."""
        return next(member for member in cls.members().values() if member.label_dims == labels.ndim)()

    def answer_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """What the shape of logits has beside images and classes, for images of ``(C, H, W)``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it asks of a network")

    def tally(self, answers: "Tensor", labels: "Tensor", num_classes: int) -> Tally:
        """Compare the classes that were answered with the labels."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it judges answers")

    def value(self, tally: Tally) -> float:
        """The ``measure`` of a tally, between 0 and 1."""
        value: float = getattr(tally, self.measure)
        return value


def deciding(metrics: Mapping[str, float], before: str) -> tuple[str, float]:
    """What decides among a stage's metrics whose names start with ``before``: in words, and its value.

    Raises:
        KeyError: there is none.
    """
    for member in sorted(Task.members().values(), key=lambda member: member.measure == Task.measure):
        if f"{before}{member.measure}" in metrics:
            return member.words, metrics[f"{before}{member.measure}"]
    raise KeyError(f"{before}{Task.measure}")


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(Task.validated)]
