"""Each image counts once: copies raise no alarm, decide no test, and fill no window."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import eyas
from eyas.adaptation.drift import DriftReference, detect_drift
from eyas.adaptation.drift.distinct_images import DistinctImages
from eyas.adaptation.revert_rule import RevertVerdict, judge
from eyas.adaptation.rule_limits import RevertRule
from eyas.errors import DataError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_of_equal_images_the_first_stays_in_its_place(dtype: torch.dtype) -> None:
    images = torch.tensor([5, 3, 5, 9, 3, 5]).view(6, 1, 1, 1).expand(6, 3, 4, 4).to(dtype)
    distinct = DistinctImages.of(images)
    assert distinct.first.tolist() == [0, 1, 0, 3, 1, 0]
    assert distinct.images[:, 0, 0, 0].tolist() == [5, 3, 9]
    assert distinct.copies == 3
    labels = torch.tensor([7, -1, 7, 2, 4, -1])
    assert distinct.labels(labels, -1).tolist() == [7, 4, 2]
    contradicted = torch.tensor([7, -1, 6, 2, 4, -1])
    assert distinct.labels(contradicted, -1).tolist() == [-1, 4, 2]


@pytest.mark.parametrize("detector", ["distributions", "hyperdimensional"])
def test_copies_of_clean_images_are_no_drift(spots: nn.Module, reference: DriftReference, draw, detector: str) -> None:
    images = draw(10, 55)[0]
    once, often = (
        detect_drift(spots, window, reference, detector=detector) for window in (images, images.repeat(35, 1, 1, 1))
    )
    assert not often.drift
    assert (often.images, often.copies) == (10, 340)
    assert often.sentence == once.sentence.replace("in 10 images", "in 10 images (340 copies left out)")
    assert often.model_copy(update={"copies": 0, "sentence": once.sentence}) == once


def test_copies_do_not_fill_a_window_nor_a_reference(spots: nn.Module, reference: DriftReference, draw) -> None:
    images, labels = draw(120, 56)
    few = images[:7].repeat(20, 1, 1, 1)
    with pytest.raises(DataError, match="`images` holds 140, of which 7 differ: give at least 8"):
        detect_drift(spots, few, reference)
    with pytest.raises(DataError, match="`images` holds 140, of which 7 differ: give at least 8"):
        judge(spots, spots, few)
    with pytest.raises(DataError, match="`images` holds 198, of which 99 differ: give at least 100"):
        DriftReference.of(spots, images[:99].repeat(2, 1, 1, 1))
    once, twice = (
        DriftReference.of(spots, images.repeat(times, 1, 1, 1), labels.repeat(times), window=64) for times in (1, 2)
    )
    assert once.clean == twice.clean
    assert once.confusion is not None
    assert twice.confusion is not None
    assert np.array_equal(once.confusion, twice.confusion)


def reddened(images: Tensor) -> Tensor:
    return images * torch.tensor([0.2, 1, 1]).view(3, 1, 1) + torch.tensor([3.0, 0, 0]).view(3, 1, 1)


def test_copies_of_labelled_images_decide_nothing(spots: nn.Module, draw) -> None:
    images, labels = draw(256, 66)
    adapted = copy.deepcopy(spots)
    eyas.recalibrate(adapted, reddened(images))
    few, known = reddened(images[:8]), labels[:8]

    def judged(images: Tensor, labels: Tensor) -> RevertVerdict:
        return judge(spots, adapted, images, labels=labels, rule=RevertRule(max_canary_loss=1))

    def told(verdict: RevertVerdict) -> str:
        (reason,) = (one for one in verdict.reasons if one.name == "labels")
        return reason.text

    once, often = judged(few, known), judged(few.repeat(12, 1, 1, 1), known.repeat(12))
    assert not once.by_labels
    assert (often.by_labels, often.reasons) == (False, once.reasons)
    assert told(often).startswith("of 8 labelled images ")
    assert often.sentence == f"{once.sentence} (88 copies left out)"
    contradicting = torch.cat([known, (known + 1) % 4])
    assert told(judged(few.repeat(2, 1, 1, 1), contradicting)).startswith("of 0 labelled images ")
    with pytest.raises(DataError, match=r"`labels` have shape \(8,\) for 16 images"):
        judged(few.repeat(2, 1, 1, 1), known)
