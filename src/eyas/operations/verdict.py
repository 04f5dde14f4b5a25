"""A verdict over a result: whether the pruned network is a success, and if not, why and what to change.

A pure function of measured facts: dense and pruned network are compared image by image on the test split, and
:mod:`eyas.operations.remarks` says what else is not as it should be.
"""

import math
from dataclasses import dataclass
from typing import Literal

from eyas.operations.paired_counts import test_images
from eyas.operations.paired_difference import PairedDifference
from eyas.operations.remarks import Remark, remarks_on
from eyas.operations.result_facts import ResultFacts

MARGIN = 0.01
"""A loss of accuracy that counts as none; MLPerf Inference asks 99 % of the reference of a compressed network."""
AGREEMENT_MARGIN = 0.05
"""A share of answers other than the dense network's that counts as none: accuracy has lost so much at most."""
Accuracy = Literal["held", "lost", "undecided", "not comparable", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What a result is worth."""

    accuracy: Accuracy
    """``held``: the interval reaches no loss of more than a point; ``lost``: it reaches no equality; else undecided.
    Of agreement it is held against :data:`AGREEMENT_MARGIN` both times."""
    comparison: str
    """The difference on the test images and its interval, in words."""
    remarks: tuple[Remark, ...] = ()
    test: PairedDifference | None = None
    measure: str = "accuracy"
    """What was compared, in words."""

    @property
    def success(self) -> bool:
        """The accuracy held, and nothing is to be remarked."""
        return self.accuracy == "held" and not self.remarks

    @property
    def headline(self) -> str:
        """One line."""
        head = {
            "held": "Success" if self.success else f"{self.measure[0].upper()}{self.measure[1:]} held, but see below",
            "lost": f"No success: {self.measure} was lost",
            "undecided": f"{self.measure[0].upper()}{self.measure[1:]} undecided",
        }.get(self.accuracy, "No verdict")
        return f"{head}: {self.comparison}"

    @property
    def lines(self) -> list[str]:
        """The headline and every remark."""
        return [self.headline, *(remark.text for remark in self.remarks)]

    def tags(self) -> dict[str, str]:
        """For a run and a registered version."""
        outcome = "success" if self.success else self.accuracy
        names = ", ".join(remark.name for remark in self.remarks)
        return {"eyas.verdict": outcome, "eyas.verdict.remarks": names, "eyas.verdict.text": "\n".join(self.lines)}

    def metrics(self) -> dict[str, float]:
        """For a run: the difference, its interval, and 1 or 0 for success; without what was not measured."""
        numbers = {"remarks": float(len(self.remarks))}
        if self.accuracy not in ("not comparable", "not measured"):
            numbers["success"] = float(self.success)
        if self.test is not None:
            low, high = self.test.interval()
            numbers |= {"difference": self.test.difference, "low": low, "high": high}
            numbers |= {name: float(value) for name, value in self.test.metrics().items()}
        return {f"verdict.{name}": value for name, value in numbers.items() if math.isfinite(value)}


def reach_verdict(facts: ResultFacts, margin: float | None = None) -> Verdict:
    """Judge a result.

    Args:
        facts: what was measured.
        margin: a loss of accuracy that counts as none; without it :data:`MARGIN`, of agreement
            :data:`AGREEMENT_MARGIN`.
    """
    if margin is None:
        margin = MARGIN if facts.labelled else AGREEMENT_MARGIN
    test = None if facts.not_comparable else facts.test
    accuracy = _accuracy(facts, margin)
    comparison = _comparison(facts, accuracy)
    if facts.untrained:
        comparison += "; the pruned network was not trained (finetune.epochs is 0)"
    return Verdict(accuracy, comparison, tuple(remarks_on(facts, accuracy, margin)), test, facts.measure)


def _accuracy(facts: ResultFacts, margin: float) -> Accuracy:
    if facts.not_comparable:
        return "not comparable"
    if facts.test is None or not facts.test.images:
        return "not measured"
    low, high = facts.test.interval()
    if low >= -margin:
        return "held"
    return "lost" if high < (0 if facts.labelled else -margin) else "undecided"


def _comparison(facts: ResultFacts, accuracy: Accuracy) -> str:
    if accuracy == "not comparable":
        return f"accuracies do not compare here: {facts.not_comparable}"
    if facts.test is None or accuracy == "not measured":
        return "the two networks' answers to the test images were not compared; run finetune again"
    if not facts.labelled:
        return agreement_in_words(facts.test)
    low, high = (points(end) for end in facts.test.interval())
    text = f"{points(facts.test.difference)} points against the dense network, {facts.test.net}"
    return f"{text}; 95 % interval {low} to {high} points"


def agreement_in_words(test: PairedDifference) -> str:
    """How often a pruned network answers as the dense one, and how well that is known."""
    low, high = (100 * (1 + end) for end in test.interval())
    return (
        f"answers {100 * (1 + test.difference):.2f} % of {test_images(test.images)} as the dense network does; 95 % "
        f"interval {low:.2f} to {min(high, 100):.2f} %; how often it is right is not known without labels"
    )


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "\N{MINUS SIGN}")
