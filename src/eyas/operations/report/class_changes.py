"""How each class fares in the dense and in the pruned network, and what is taken for what.

N images, K classes.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eyas.operations.report.results import Results

MOST_CLASSES = 20
"""Up to so many a confusion matrix is drawn; of more, the pairs that are confused most often."""
MOST_PAIRS = 15
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ClassChange:
    """A class before and after pruning."""

    name: str
    images: int
    """Test images of this class; with pixels, those that hold any of it."""
    dense: float
    """Share of them that is answered right; with pixels, intersection over union."""
    pruned: float

    @property
    def change(self) -> float:
        """In points of 100."""
        return 100 * (self.pruned - self.dense)


@dataclass(frozen=True)
class Confusion:
    """A class that was taken for another."""

    label: str
    answer: str
    dense: int
    pruned: int


def class_changes(results: Results) -> list[ClassChange]:
    """Every class that occurs, the greatest loss first; empty where answers were not kept."""
    if results.answers is None:
        return []
    rows = _of_pixels(results) if results.answers.overlaps else _of_images(results)
    named = [ClassChange(name, *row) for name, row in zip(results.manifest["classes"], rows, strict=True)]
    return sorted((row for row in named if math.isfinite(row.change)), key=lambda row: row.change)


def confusion_matrix(results: Results, network: str) -> Counts:
    """How often which class ``(K, K)``, by row, was answered as which, by column."""
    assert results.answers is not None
    classes, answers = len(results.manifest["classes"]), results.answers
    cells_N = answers.labels * classes + answers.answers[network]
    return np.bincount(cells_N, minlength=classes**2).reshape(classes, classes)


def confusions(results: Results) -> list[Confusion]:
    """The pairs of classes that either network confuses most often."""
    dense, pruned = (confusion_matrix(results, network) for network in ("dense", "pruned"))
    worst = np.maximum(dense, pruned) * (1 - np.eye(len(dense), dtype=np.int64))
    names = results.manifest["classes"]
    order = np.argsort(-worst, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(int(place) // len(names), int(place) % len(names)) for place in order]
    return [
        Confusion(names[label], names[answer], int(dense[label, answer]), int(pruned[label, answer]))
        for label, answer in pairs
        if worst[label, answer]
    ]


def _of_images(results: Results) -> list[tuple[int, float, float]]:
    """Images, and the share that each network answers right, by class."""
    dense, pruned = (confusion_matrix(results, network) for network in ("dense", "pruned"))
    counts_K = dense.sum(1)
    return [
        (int(count), _share(dense[label, label], count), _share(pruned[label, label], count))
        for label, count in enumerate(counts_K)
    ]


def _of_pixels(results: Results) -> list[tuple[int, float, float]]:
    """Images, and the intersection over union of each network, by class."""
    assert results.answers is not None
    overlaps = results.answers.overlaps
    images_K = (overlaps["dense"][1] > 0).sum(0)
    dense_2K, pruned_2K = (overlaps[network].sum(1) for network in ("dense", "pruned"))
    pairs = zip(images_K, dense_2K.T, pruned_2K.T, strict=True)
    return [(int(images), _share(*dense), _share(*pruned)) for images, dense, pruned in pairs]


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan
