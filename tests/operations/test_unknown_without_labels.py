"""What is said of a result without labels is true of any labels that the images may have."""

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eyas.operations.paired_counts import PairedCounts
from eyas.operations.result_facts import ResultFacts
from eyas.operations.unknown_without_labels import unknown_without_labels

IMAGES = 400


def facts_of(differing: int, measure: str = "agreement") -> ResultFacts:
    return ResultFacts(1.0, 1 - differing / IMAGES, test=PairedCounts(IMAGES, 0, differing), measure=measure)


@given(st.integers(0, IMAGES), st.integers(0, 2**32 - 1))
def test_no_labels_make_accuracies_differ_by_more_than_the_bound(differing: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.integers(0, 10, IMAGES)
    pruned = np.where(np.arange(IMAGES) < differing, (dense + 1) % 10, dense)
    labels = np.where(random.random(IMAGES) < 0.7, dense, random.integers(0, 10, IMAGES))
    difference = 100 * abs((pruned == labels).mean() - (dense == labels).mean())
    (bound,) = re.findall(r"differ by ([0-9.]+) points at most", "\n".join(unknown_without_labels(facts_of(differing))))
    assert difference <= float(bound) + 0.005
    here = slice(0, differing)  # labels of these alone tell the difference
    told = ((pruned == labels)[here].sum() - (dense == labels)[here].sum()) / IMAGES
    assert abs(100 * told) == difference or abs(abs(100 * told) - difference) < 1e-9


def test_it_says_which_labels_would_tell() -> None:
    text = "\n".join(unknown_without_labels(facts_of(12)))
    assert "Labels of the 12 test images that the two answer otherwise" in text
    assert "all 400 test images" in text


def test_with_labels_nothing_is_said() -> None:
    assert unknown_without_labels(facts_of(12, "accuracy")) == []
