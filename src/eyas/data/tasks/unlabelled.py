"""Images without labels: a network is judged by how often it answers as the dense one does."""

from typing import ClassVar, Literal

from eyas.data.tasks.base import Task
from eyas.data.tasks.classification import Classification
from eyas.data.tasks.tally import Tally
from eyas.errors import DataError


class Unlabelled(Classification):
    """One class per image, and no image says which; the share of answers that are the dense network's decides.

    Every stage works without labels: candidates are scored against the dense network, the winner learns from it alone.
    How often the two are right is not known.
    """

    kind: Literal["unlabelled"] = "unlabelled"  # type: ignore[assignment]
    label_dims: ClassVar[int] = 0
    labelled: ClassVar[bool] = False
    measure: ClassVar[str] = "agreement"
    words: ClassVar[str] = "agreement"
    labelled_test: bool = False
    """The images of ``test`` have labels: accuracy is measured on them, once, at the end."""
    class_names: tuple[str, ...] = ()
    """In the order of the network's outputs; without them the classes of a labelled test set, else numbers."""

    def of_part(self, name: str) -> Task:
        """The test set may be of classes."""
        return Classification() if name == "test" and self.labelled_test else self

    def order(self, classes: tuple[str, ...]) -> tuple[str, ...]:
        """``class_names``, where they are known; the test set need not show them all."""
        unknown = sorted(set(classes) - set(self.class_names))
        if self.class_names and unknown:
            msg = f"the test set has a class {unknown[0]!r} that `class_names` lack: {', '.join(self.class_names)}"
            raise DataError(msg)
        return self.class_names or classes

    def value(self, tally: Tally) -> float:
        """Share of equal answers."""
        return tally.accuracy
