"""Images of a device as a bundle's network takes them: each counts once, and some are held out to judge by.

Needs numpy alone, beside what the bundle's other programs need. Shapes: N images, C channels, H height, W width.
"""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:  # within eyas
    from eyas.data.pixels import network_input
    from eyas.deploy.bundle.classifier import Classifier
    from eyas.deploy.bundle.label_free_rule import Rule, judging
else:  # in a bundle
    from classifier import Classifier
    from label_free_rule import Rule, judging
    from pixels import network_input

BATCH = 32


def different_images(classifier: Classifier, places: list[Path]) -> tuple[dict[str, Path], int]:
    """A file of each different image by the sha256 of its pixels, and how many more are equal to one of these.

    Pixels are what the network gets. What cannot be read is told and left out.
    """
    files = [file for place in places for file in (sorted(place.rglob("[!.]*")) if place.is_dir() else [place])]
    different, copies = dict[str, Path](), 0
    for file in files:
        if file.is_dir():
            continue
        try:
            digest = hashlib.sha256(network_input(classifier.read(file), classifier.how).tobytes()).hexdigest()
        except Exception as error:  # Pillow raises nearly anything for a damaged file
            print(f"{file}: {getattr(error, 'strerror', None) or ' '.join(str(error).split())}", file=sys.stderr)
            continue
        copies += digest in different
        different.setdefault(digest, file)
    return different, copies


def held_out(different: dict[str, Path], rule: Rule) -> tuple[list[Path], list[Path]]:
    """Files that make the statistics, and files that judge them; the same ones twice where they are few.

    Those of the lowest digests judge: a draw that neither names nor order move, and the same for the same images.
    """
    judges = judging(len(different), rule)
    if judges == len(different):
        return [*different.values()], [*different.values()]
    drawn = set(sorted(different)[:judges])
    files = different.items()
    return [file for digest, file in files if digest not in drawn], [file for digest, file in files if digest in drawn]


def batches_of(classifier: Classifier, files: list[Path]) -> Iterator[Any]:
    """Batches ``(N, C, H, W)`` of 32 images; the last has up to one more, for a single one has no variance."""
    batch: list[Any] = []
    for file in files:
        if len(batch) > BATCH:
            yield np.concatenate(batch[:BATCH])
            batch = batch[BATCH:]
        batch.append(network_input(classifier.read(file), classifier.how))
    if batch:
        yield np.concatenate(batch)
