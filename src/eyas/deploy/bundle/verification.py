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


def verify_bundle(place: Path, statistics: Path | None = None) -> Verified:
    """Check a bundle, a folder or its tar: every file's hash, then the golden pairs by our own code.

    Args:
        place: of the bundle.
        statistics: what ``adapt.py`` wrote on a device, to be looked at as well.

    Raises:
        DataError: there is no bundle, or the tar would be written outside of its folder.
        ChecksumError: files are missing, changed or not listed.
        ParityError: the network answers otherwise here.
        RefusedError: the statistics are not this network's, impossible, or cost too many golden images their class.
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
        return replace(verified, changed=_changed(folder, statistics)) if statistics else verified


def _changed(folder: Path, statistics: Path) -> float:
    """What other statistics change."""
    from eyas.deploy.bundle.adapted_classifier import AdaptedClassifier

    if not (folder / ADAPTABLE).is_file():
        msg = "the bundle takes no other statistics: export it with `adaptable`"
        raise DataError(msg)
    try:
        return AdaptedClassifier(folder, statistics, threads=1).check()
    except ValueError as error:
        raise RefusedError(one_line(error)) from error


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
