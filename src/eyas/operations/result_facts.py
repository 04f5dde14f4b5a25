"""What was measured of a dense network and the one that was pruned from it: all that a verdict stands on."""

import math
from dataclasses import dataclass, field
from typing import Literal

from eyas.data.tasks.unlabelled import Unlabelled
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.run_times import RunTimes

FALL = 0.1
"""An accuracy that fell by more in some epoch was broken first and learned again."""
TestSource = Literal["given", "included", "cut"]
"""Where test images come from: an address of their own, with the training data, or a share of these."""
_LAST_TENTH = 10
"""Of the epochs: the schedule is all but done there, so that who still improves needs a longer one."""


@dataclass(frozen=True)
class TrainingFacts:
    """How one network was trained."""

    epochs: int
    steps: int
    steps_per_epoch: int
    accuracies: tuple[float, ...] = ()
    """On the score split, after each epoch."""
    score_images: int = 0
    start: float = math.nan
    """On the score split, before the first epoch; NaN where it is not known, or the network was pruned meanwhile."""
    learning_rate: float = math.nan
    """The highest."""
    best_epoch: float | None = None
    """Whose weights were kept; 0 where none was better than what training began with."""

    @property
    def in_vain(self) -> bool:
        """It was trained, and is as it was before."""
        return self.epochs > 0 and self.best_epoch == 0

    def first_fall(self, deviations: float) -> tuple[float, int] | None:
        """The lowest accuracy and its epoch, where it lies so many standard errors below what training began with."""
        start, lowest = self.start, min(self.accuracies, default=math.nan)
        if not start - lowest > FALL or not self.score_images:
            return None
        error = math.sqrt((start * (1 - start) + lowest * (1 - lowest)) / self.score_images)
        return (lowest, self.accuracies.index(lowest) + 1) if start - lowest > deviations * error else None

    @property
    def still_rising(self) -> bool:
        """The last epoch is the best, and better by more than a standard error than a tenth of the epochs before."""
        if len(self.accuracies) < 2 or not self.score_images or self.in_vain:
            return False
        last, before = self.accuracies[-1], self.accuracies[-1 - max(1, len(self.accuracies) // _LAST_TENTH)]
        error = math.sqrt(max(last * (1 - last), before * (1 - before)) / self.score_images)
        return last == max(self.accuracies) and last - before > error


@dataclass(frozen=True)
class UniformFacts:
    """The winner beside the candidate that keeps the same share everywhere, both as the race judged them."""

    uniform: float
    """Accuracy on the score images."""
    winner: float
    images: int

    def surely_better(self, deviations: float) -> bool:
        """Whether the uniform one leads by so many standard errors; the two are taken as independent."""
        variance = self.uniform * (1 - self.uniform) + self.winner * (1 - self.winner)
        return self.uniform - self.winner > deviations * math.sqrt(variance / self.images)


@dataclass(frozen=True)
class ResultFacts:
    """Dense network, pruned network, and the way from one to the other; None and NaN where nothing was measured."""

    dense_accuracy: float
    """On the test images, as :attr:`pruned_accuracy`; another :attr:`measure` where that says so."""
    pruned_accuracy: float
    test: PairedDifference | None = None
    """On the test images, from the dense to the fine-tuned network."""
    measure: str = "accuracy"
    """What accuracies on the test images are, in words; ``agreement`` with the dense network where they have no
    labels, which is 1 for that network itself."""
    score_measure: str = "accuracy"
    """The same on the score images."""
    not_comparable: str = ""
    """Why accuracies on the test images do not compare, such as a checkpoint that was trained on them."""
    chance: float = math.nan
    """Accuracy of an answer that knows nothing: the share of the test images' commonest class."""
    test_images: int = 0
    test_source: TestSource = "cut"
    repeated_test_images: int = 0
    """Test images whose pixels are those of another test image."""
    finetuning: TrainingFacts | None = None
    dense_training: TrainingFacts | None = None
    """None where a checkpoint was taken as it is."""
    adapted: bool = False
    """The training of the dense network went on from a checkpoint."""
    recalibration: PairedDifference | None = None
    """On the score images, from the recalibrated to the fine-tuned network."""
    tuning: PairedDifference | None = None
    """The same on the test images."""
    recalibrated_accuracy: float = math.nan
    """On the score images."""
    refitted: bool = False
    """Layers of the pruned network were refitted before it was trained, or in place of that."""
    refit_wanted: bool = True
    """Candidates or the winner were to be refitted on the calibration images."""
    scorer: str = ""
    """Kind of what ranked the candidates."""
    training_images: int = 0
    """Before they were split into those to train, to calibrate, to score (and to test, where these came from them)."""
    calibration_images: int = 0
    score_images: int = 0
    uniform: UniformFacts | None = None
    finetuned_uniform: PairedDifference | None = None
    """On the test images, from the network of uniform widths, fine-tuned alike, to the winner."""
    dense_times: RunTimes = field(default_factory=RunTimes)
    pruned_times: RunTimes = field(default_factory=RunTimes)
    limit_ms: float = math.nan
    """Milliseconds that the budget allows."""
    kept_ms: float = math.nan
    """What the exported network took when it was measured as the limit is meant."""

    @property
    def labelled(self) -> bool:
        """Whether the test images have labels."""
        return self.measure != Unlabelled.words

    @property
    def untrained(self) -> bool:
        """The pruned network was not trained, because nobody asked for it."""
        return self.finetuning is not None and not self.finetuning.epochs

    def chance_level(self, accuracy: float, deviations: float) -> bool:
        """Whether an accuracy on the test images is not so many standard errors above chance."""
        if not self.test_images:
            return False
        error = math.sqrt(self.chance * (1 - self.chance) / self.test_images)
        return accuracy < self.chance + deviations * error
