"""What cannot be known of a result whose test images have no labels, and what a few labels would tell."""

from math import sqrt

from eyas.operations.paired_counts import DEVIATIONS_95, test_images
from eyas.operations.result_facts import ResultFacts

FEW = 500
"""Labels that somebody may be asked for."""


def unknown_without_labels(facts: ResultFacts) -> list[str]:
    """In sentences; empty where there are labels.

    Networks that answer alike are both right or both wrong: their accuracies differ by the share d of other answers at
    most, and among n labelled images the standard error of the difference is at most the root of d / n.
    """
    if facts.labelled or facts.test is None:
        return []
    differing = -facts.test.difference
    others, most = round(differing * facts.test.images), -facts.test.interval()[0]
    near = 100 * DEVIATIONS_95 * sqrt(most / FEW)
    return [
        "Not known: how often either network is right, and in which classes the pruned one is worse or better than the "
        "dense one.",
        f"Known: where both answer alike, both are right or both wrong. So their accuracies differ by {100 * most:.2f} "
        "points at most, whichever way (the upper end of the 95 % interval of other answers). It usually is much less, "
        "for the dense network is wrong on some of these images, too.",
        f"Labels of the {test_images(others)} that the two answer otherwise tell the difference of their accuracies on "
        f"all {test_images(facts.test.images)}; labels of {FEW} images drawn by chance tell it within {near:.1f} "
        "points, and how often each is right.",
        "If the checkpoint was trained on these very images, the two agree more on them than they will on new ones.",
    ]
