"""What a source may hold: a file that claims more, or unpacks to more, is refused before the memory is taken."""

from typing import Annotated

from pydantic import Field

from eyas.component import LARGEST, Options
from eyas.errors import DataError

ANY_RATIO = 64 * 2**20  # bytes that a file of any size may unpack to
_IMAGE = 256  # bytes that the index takes for each image, whatever its size
_Most = Annotated[int, Field(ge=1, strict=True)]


class Limits(Options):
    """What a source may hold. Every message that refuses names the value, the limit and the field to raise."""

    unpacked_bytes: _Most = 2**42
    """Bytes that one archive or compressed file unpacks to."""
    unpacked_ratio: _Most = 200
    """Bytes unpacked for each byte of the file, where it is more than 64 MiB in all."""
    pixels: _Most = 200_000_000
    """Width times height of an image, as stored and after resizing."""
    images: _Most = 20_000_000
    """Images of one file."""
    classes: _Most = 65_536
    """Classes, or a label's number and one."""

    def check_unpacked(self, size: int, packed: int, name: str) -> None:
        """Refuse a file of ``packed`` bytes that unpacks to ``size``; ``name`` says which, as below.

        Raises:
            DataError: it is too large, absolutely or for its file.
        """
        self._check("unpacked_bytes", size, f"{name} unpacks to {size} bytes")
        if size > ANY_RATIO:
            self._check("unpacked_ratio", -(-size // max(packed, 1)), f"{name} unpacks {packed} bytes to {size}")

    def check_images(self, count: int, size: int, packed: int, name: str) -> None:
        """Refuse a file of ``packed`` bytes that claims ``count`` images of ``size`` bytes in all.

        Raises:
            DataError: there are too many, absolutely or for the bytes of the file.
        """
        self._check("images", count, f"{name} holds {count} images")
        self.check_unpacked(size + _IMAGE * count, packed, name)

    def check_pixels(self, width: int, height: int) -> None:
        """Refuse an image of too many pixels.

        Raises:
            DataError: it has too many.
        """
        self._check("pixels", width * height, f"{width} x {height} are {width * height} pixels")

    def check_classes(self, count: int, name: str) -> None:
        """Refuse too many classes.

        Raises:
            DataError: there are too many.
        """
        self._check("classes", count, f"{name} has {count} classes")

    def _check(self, field: str, value: int, fault: str) -> None:
        limit = getattr(self, field)
        if value > limit:
            msg = f"{fault}, more than `{field}` allows ({limit}): raise it if that is right"
            raise DataError(msg)


DEFAULT_LIMITS = Limits()
UNLIMITED = Limits.model_validate(dict.fromkeys(Limits.model_fields, LARGEST))
