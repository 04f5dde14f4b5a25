"""The root of the formats: what a format promises."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from eyas.component import Component
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.part_names import Use, use_of_file
from eyas.data.payload import Payload
from eyas.data.remote_files import RemoteFiles
from eyas.data.tasks import IGNORED


@dataclass(frozen=True)
class Listing:
    """Where the images of a source are, and what they show; N images."""

    files: tuple[str, ...]
    """File names relative to the source's folder, ``/`` between parts."""
    file_indices: NDArray[np.int64]
    """Position in ``files``."""
    rows: NDArray[np.int64]
    """Position inside the file, or -1 where a file is one image."""
    labels: NDArray[np.int64]
    """Position in ``classes``; :data:`eyas.data.tasks.IGNORED` where there are none."""
    classes: tuple[str, ...]
    named: bool = True
    """False where the source holds numbers alone and ``classes`` are made up from them."""
    in_own_order: bool = False
    """The source lists its class names by their numbers; else they are sorted."""
    masks: tuple[str, ...] = ()
    """By image the file that holds a class per pixel; none where an image has one label."""

    def without_labels(self) -> "Listing":
        """The same images, of which nothing says what they show."""
        return replace(self, labels=np.full(len(self.rows), IGNORED, dtype=np.int64), classes=(), masks=())


class Format(Component):
    """Reads the labels and the images of files of one kind."""

    priority: ClassVar[int] = 0
    """Detection asks the formats from the highest number, the most telling, to the lowest."""
    task: ClassVar[str] = "classification"
    """The kind of task that its labels are for."""
    expects: ClassVar[str] = ""
    """The files it knows, in words for a message; without it the kind's name."""

    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        """Whether files of these names are of this kind."""
        raise NotImplementedError(f"{cls.__name__} does not say which files it knows")

    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        """Find all images and labels without reading the images themselves.

        Raises:
            DataError: the files are not what their kind promises, naming file and row, or claim more than ``limits``
                allow, which is told before the memory is taken.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it lists images")

    def read(self, path: Path, rows: Sequence[int]) -> Iterator[Payload]:
        """The images of one file at ascending ``rows`` (``[-1]`` where the file is one image).

        Raises:
            DataError: the file cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it reads")

    def uses(self, files: Sequence[str]) -> list[Use]:
        """The part of a data set that each file belongs to, by its name."""
        return [use_of_file(name) for name in files]

    def left_out(self, files: Sequence[str]) -> Mapping[str, int]:
        """How many of the files hold images that are not read, by kind."""
        del files
        return {}

    def resolved(self, root: Path, files: Sequence[str]) -> "Format":
        """This format with every option it would otherwise find by looking at the files."""
        del root, files
        return self

    def write_subset(self, files: RemoteFiles, count: int, folder: Path, limits: Limits = DEFAULT_LIMITS) -> bool:
        """Put the ``count`` images with the smallest content hashes into the new ``folder``, storing no other.

        A format that cannot, as here, returns False and writes nothing: the source is then brought as a whole.
        """
        del files, count, folder, limits
        return False

    def write_example(self, root: Path, images_NHWC: NDArray[np.uint8], labels: Sequence[int]) -> None:
        """Files of this kind that hold N images of any 8 x 8 RGB pixels and classes 0 to 2, for the tests to read.

        A format that has a writer among the tests needs none.
        """
        raise NotImplementedError(f"{type(self).__name__} writes no example that could be read back")
