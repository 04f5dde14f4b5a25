"""One class per image: the default."""

from typing import TYPE_CHECKING, Literal

from eyas.data.tasks.base import Task
from eyas.data.tasks.tally import Tally, right_answers

if TYPE_CHECKING:
    from torch import Tensor


class Classification(Task):
    """One class per image; the share of right answers decides."""

    kind: Literal["classification"] = "classification"

    def answer_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Logits are ``(N, K)``."""
        del image_shape
        return ()

    def tally(self, answers: "Tensor", labels: "Tensor", num_classes: int) -> Tally:
        """Right answers ``(N,)``."""
        del num_classes
        return right_answers(answers, labels)
