"""``eyas verify``: a bundle on any machine, its files and what it answers."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from eyas.data.archives import is_archive, unpack
from eyas.deploy.bundle.adaptable_network import ADAPTABLE
from eyas.deploy.bundle.contents import BUNDLE, check_contents
from eyas.deploy.bundle.golden_pairs import OTHER_PIXELS, TOLERANCE
from eyas.errors import DataError, MissingExtraError, ParityError, RefusedError, one_line

JUDGING = "label_free_rule.py"
"""What bundles hold whose ``adapt.py`` asks the rule, and tells of the images beside the statistics."""


@dataclass(frozen=True)
class Verified:
    """A bundle that is as it was made."""

    digest: str
    """sha256 of its ``manifest.json``, which lists all other files: equal ones are equal bundles."""
    pairs: int
    """Golden pairs that were replayed."""
    max_difference: float
    """Largest difference of a probability from PyTorch's where the bundle was made; of ``masks``, largest share of
    pixels of another class."""
    allowed: float
    """Of the same."""
    masks: bool = False
    """Whether each pixel has a class."""
    changed: float | None = None
    """Share of the golden images, or of their pixels, that other statistics give another class."""
    reasons: tuple[str, ...] = ()
    """What else was asked of other statistics, a line each; none where an older bundle told nothing of its images."""


def verify_bundle(place: Path, statistics: Path | None = None, *, few_images: bool = False) -> Verified:
    """Check a bundle, a folder or its tar: every file's hash, then the golden pairs by our own code.

    Args:
        place: of the bundle.
        statistics: what ``adapt.py`` wrote on a device, to be looked at as well.
        few_images: take statistics of fewer than 64 images.

    Raises:
        DataError: there is no bundle, or the tar would be written outside of its folder.
        ChecksumError: files are missing, changed or not listed.
        ParityError: the network answers otherwise here.
        RefusedError: the statistics are not this network's, impossible, cost too many golden images their class, the
            answers to the device's images speak against them, or they lack these although the bundle writes them.
        MissingExtraError: ONNX Runtime is not installed.
    """
    with _opened(place) as folder:
        digest = check_contents(folder)
        try:
            from eyas.deploy.bundle.classifier import Classifier
        except ImportError as error:
            msg = f"{error.name} is not installed: pip install 'eyas[pipeline]'"
            raise MissingExtraError(msg) from error
        try:
            classifier = Classifier(folder, threads=1)
            most = OTHER_PIXELS if classifier.masks else TOLERANCE
            classifier.golden["tolerance"] = min(classifier.golden["tolerance"], most)
            allowed = classifier.golden["tolerance"]
            verified = Verified(digest, len(classifier.pairs), classifier.check(), allowed, classifier.masks)
        except Exception as error:  # Pillow and ONNX Runtime raise what they like
            msg = f"{place} has the files that it was made of, but does not answer as it should: {one_line(error)}"
            raise ParityError(msg) from error
        if statistics is None:
            return verified
        changed, told = _look_at(folder, statistics, few_images)
        return replace(verified, changed=changed, reasons=told)


def _look_at(folder: Path, statistics: Path, few_images: bool) -> tuple[float, tuple[str, ...]]:
    """What other statistics change, and the reasons of the rule that needs no labels."""
    from eyas.deploy.bundle.adapted_classifier import AdaptedClassifier, read_tensors
    from eyas.deploy.bundle.label_free_rule import TOLD, lines, read_rule, reasons

    if not (folder / ADAPTABLE).is_file():
        msg = "the bundle takes no other statistics: export it with `adaptable`"
        raise DataError(msg)
    try:
        classifier, tensors = AdaptedClassifier(folder, statistics, threads=1), read_tensors(statistics)
        changed = classifier.check()
        if tensors.keys() & set(TOLD):
            judged = reasons(tensors, len(classifier.labels), read_rule(folder), few_images)
        elif (folder / JUDGING).is_file():
            msg = f"{statistics} tells nothing of the images that it was made of: let the bundle's adapt.py write it"
            raise RefusedError(msg)
        else:
            judged = []
    except ValueError as error:
        raise RefusedError(one_line(error)) from error
    against = [f"{name}: {text}" for name, holds, text in judged if not holds]
    if against:
        msg = f"{statistics} is refused: {'; '.join(against)}"
        raise RefusedError(msg)
    return changed, tuple(lines(judged))


@contextmanager
def _opened(place: Path) -> Iterator[Path]:
    """The folder of a bundle; that of a tar for as long as it is looked at."""
    if place.is_dir():
        yield place
    elif place.is_file() and is_archive(place.name):
        with tempfile.TemporaryDirectory() as scratch:
            unpack(place, Path(scratch))
            folder = Path(scratch) / BUNDLE
            yield folder if folder.is_dir() else Path(scratch)
    else:
        msg = f"{place} is no bundle: give its folder, or its .tar.gz"
        raise DataError(msg)
