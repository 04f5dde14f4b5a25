"""Images in any folders, whatever these are called: nothing says what an image shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from eyas.data.formats.base import Listing
from eyas.data.formats.image_files import ImageFiles, choose_images, is_image, write_images
from eyas.data.limits import DEFAULT_LIMITS, Limits
from eyas.data.part_names import Use
from eyas.data.remote_files import RemoteFiles
from eyas.data.tasks import IGNORED
from eyas.errors import DataError


class Images(ImageFiles):
    """Images side by side or in folders, one per file; no name of a file or a folder is read as anything."""

    kind: Literal["images"] = "images"
    priority: ClassVar[int] = 1
    task: ClassVar[str] = "unlabelled"
    expects: ClassVar[str] = "images in any folders"

    @override
    @classmethod
    def recognises(cls, files: Sequence[str]) -> bool:
        return any(map(is_image, files))

    @override
    def list_images(self, root: Path, files: Sequence[str], limits: Limits = DEFAULT_LIMITS) -> Listing:
        images = tuple(sorted(filter(is_image, files)))
        if not images:
            raise DataError(f"{root.name} holds no image: expected {self.expects}, one per file")
        return Listing(
            files=images,
            file_indices=np.arange(len(images), dtype=np.int64),
            rows=np.full(len(images), -1, dtype=np.int64),
            labels=np.full(len(images), IGNORED, dtype=np.int64),
            classes=(),
        )

    @override
    def uses(self, files: Sequence[str]) -> list[Use]:
        return ["train"] * len(files)

    @override
    def write_subset(self, files: RemoteFiles, count: int, folder: Path, limits: Limits = DEFAULT_LIMITS) -> bool:
        write_images(choose_images(files, count), folder)
        return True
