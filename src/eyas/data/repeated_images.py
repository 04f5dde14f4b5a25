"""Images that are there more than once, however each copy is stored: by the hashes of their decoded pixels."""

import logging
from collections import Counter
from collections.abc import Sequence

from eyas.data.index import IndexRow
from eyas.data.split_assignment import SPLITS
from eyas.errors import DataError

_LOG = logging.getLogger(__name__)
_ON_TEST = ", and accuracies on it are known less well than their intervals say"


def first_copies(digests: Sequence[str], pixels: Sequence[str]) -> list[str]:
    """For each image the smallest digest of all that have its pixels, which is its own where no other has them.

    Args:
        digests: sha256 of the images as stored.
        pixels: sha256 of their decoded pixels.
    """
    first: dict[str, str] = {}
    for digest, key in zip(digests, pixels, strict=True):
        first[key] = min(first.get(key, digest), digest)
    return [first[key] for key in pixels]


def held_out_in_train(pixels: Sequence[str], is_test: Sequence[bool]) -> set[int]:
    """Positions of test images whose pixels are in the training data as well: seen before, however they are stored.

    Args:
        pixels: hashes of the decoded images, as the network sees them; "" for a broken one.
        is_test: by image, whether it came in a test set.

    Raises:
        DataError: all are.
    """
    train = {digest for digest, flag in zip(pixels, is_test, strict=True) if not flag}
    test = [position for position, flag in enumerate(is_test) if flag and pixels[position]]
    repeated = {position for position in test if pixels[position] in train}
    if test and len(repeated) == len(test):
        msg = f"all {len(test):,} images of the test set are in `train` as well: give a `test` set of other images"
        raise DataError(msg)
    if repeated:
        words = "%d of %d images of the test set are in the training data as well: they are left out of the test set"
        _LOG.warning(words, len(repeated), len(test))
    return repeated


def check_not_all_alike(pixels: Sequence[str], is_test: Sequence[bool]) -> None:
    """Training images of one and the same content teach nothing: they were read wrongly, or are none.

    Raises:
        DataError: all are alike.
    """
    train = [digest for digest, flag in zip(pixels, is_test, strict=True) if not flag and digest]
    if len(train) > 1 and len(set(train)) == 1:
        msg = f"all {len(train):,} images of `train` have the same pixels: open some of them, and look"
        raise DataError(msg)


def count_repeated(index: Sequence[IndexRow]) -> dict[str, int]:
    """Images of each split whose pixels are those of one before them, where there are any; warns of them."""
    rows = Counter[str](row.split for row in index)
    distinct = Counter[str](split for split, _ in {(row.split, row.pixel_hash) for row in index})
    repeated = {str(split): rows[split] - distinct[split] for split in SPLITS if rows[split] > distinct[split]}
    for split, count in repeated.items():
        words = "%d of the %d images of split %s repeat the pixels of another: copies lie in one split"
        _LOG.warning(f"{words}%s", count, rows[split], split, _ON_TEST if split == "test" else "")
    return repeated
