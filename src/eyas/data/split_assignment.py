"""Which split an image belongs to: decided by its own bytes, so that added data moves no other image.

An image's sha256 is used twice. Its last 8 bytes, read as a number in [0, 1), choose the split; its first bytes
give the order inside a split. The two are independent, so the first so many images of a split are a fixed random
subset. Identical images land in the same split.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from eyas.errors import DataError

SplitName = Literal["train", "calibration", "score", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)


def position(sha256: str) -> float:
    """The image's place in [0, 1), from the last 8 bytes of its hexadecimal digest."""
    return int(sha256[-16:], 16) / 2**64


def assign(sha256: str, *, test: float, score: float, calibration: float) -> SplitName:
    """The split of an image with this digest, under these shares; what they leave is ``train``."""
    place = position(sha256)
    if place < test:
        return "test"
    if place < test + score:
        return "score"
    if place < test + score + calibration:
        return "calibration"
    return "train"


def smallest(digests: Sequence[str], count: int | None) -> NDArray[np.int64]:
    """Positions of the ``count`` images with the smallest digests; all without a count."""
    order = np.argsort(np.array(digests, dtype="S64"), kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def count_classes(
    labels: Sequence[int],
    splits: Sequence[str],
    classes: Sequence[str],
    *,
    test_came_with_data: bool = False,
    limited: bool = False,
) -> dict[str, dict[str, int]]:
    """Images per split and class name.

    Args:
        labels: of each image.
        splits: of each image.
        classes: by label.
        test_came_with_data: whether the test images are no share of the others.
        limited: whether ``max_images`` left images out.

    Raises:
        DataError: a class has no image in a split; names class and split.
    """
    counts = Counter(zip(splits, labels, strict=True))
    for label, name in enumerate(classes):
        total = sum(counts[split, label] for split in SPLITS)
        for split in SPLITS:
            if not counts[split, label]:
                share = "smaller shares for the other splits" if split == "train" else f"a larger `{split}_fraction`"
                way = ", ".join(["more images", share, *(["a larger `max_images`"] if limited else [])])
                if split == "test" and test_came_with_data:
                    way = "images of it in the test set that are not in `train` and not broken"
                msg = (
                    f"class {name!r} has no image in split {split!r} (it has {total} in all): give {way}, or remove "
                    "the class"
                )
                raise DataError(msg)
    return {split: {name: counts[split, label] for label, name in enumerate(classes)} for split in SPLITS}


def count_images(labels: Sequence[int], splits: Sequence[str], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """The same where images have no labels but those of a test set, which need not show every class.

    Raises:
        DataError: a split has no image; names it.
    """
    counts, total = Counter(zip(splits, labels, strict=True)), Counter(splits)
    for split in SPLITS:
        if not total[split]:
            msg = f"split {split!r} has none of the {len(splits)} images: give more, or larger shares"
            raise DataError(msg)
    labelled = any(label >= 0 for label in labels)
    return {
        split: {name: counts[split, label] for label, name in enumerate(classes) if labelled and split == "test"}
        for split in SPLITS
    }
