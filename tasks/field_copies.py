"""Copies among images of the field, of which each counts once; and a draw that no order of their names can bend."""

import hashlib
import logging
from collections.abc import Iterable, Sequence

from eyas.errors import DataError

log = logging.getLogger(__name__)


def first_copies(
    digests: Sequence[str], labels: Sequence[int] | None = None, names: Sequence[object] = ()
) -> list[int]:
    """Positions of images that differ, of equal ones the first, in their order; what is left out is told in a line.

    Copies with different labels say nothing for sure: all of such an image are left out.

    Args:
        digests: sha256 of the images as stored.
        labels: of the images, where they have some.
        names: of the images, where they have labels.

    Raises:
        DataError: nothing is left.
    """
    first: dict[str, int] = {}
    contradicted: set[str] = set()
    for position, digest in enumerate(digests):
        known = first.setdefault(digest, position)
        if labels is not None and labels[known] != labels[position]:
            contradicted.add(digest)
    if len(first) < len(digests):
        log.warning("%d of %d images repeat another: each counts once", len(digests) - len(first), len(digests))
    if not contradicted:
        return [*first.values()]
    kept = [position for digest, position in first.items() if digest not in contradicted]
    if not kept:
        msg = f"all {len(first)} images that differ have copies with other labels: see which label is right"
        raise DataError(msg)
    example = names[min(first[digest] for digest in contradicted)]
    log.warning("%d images are left out: their copies have other labels; the first: %s", len(contradicted), example)
    return kept


def drawn_order(digests: Iterable[str], seed: int) -> list[int]:
    """Positions of images in an order by chance: by what they hold and a seed, however they are called or sorted."""
    keys = [hashlib.sha256(f"{seed} {digest}".encode()).digest() for digest in digests]
    return sorted(range(len(keys)), key=keys.__getitem__)
