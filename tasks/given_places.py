"""Files in messages as a person gave them: those of a data set by their place, not by the part (``train``) they are."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from eyas.data.sources import BUILTIN
from eyas.errors import DataError
from eyas.storage import redact


@contextmanager
def naming_places(places: Mapping[str, str]) -> Iterator[None]:
    """An error of the data names files below the place of their part.

    Args:
        places: what the person gave, by part.
    """
    try:
        yield
    except DataError as error:
        message = str(error)
        for part, place in places.items():
            message = _with_place(message, part, redact(place))
        error.args = (message,)
        raise


def path_from_here(path: Path) -> str:
    """A path as it is typed where the user stands: relative, unless the whole one is shorter."""
    whole = os.path.abspath(path)
    return min(os.path.relpath(whole, os.environ.get("PWD", Path.cwd())), whole, key=len)


def _with_place(message: str, part: str, place: str) -> str:
    """``train/cat/0.png`` as ``photos/cat/0.png``, where the place is a folder; a single file is the place itself."""
    if place.startswith(BUILTIN) or set(place) & set("*?["):
        return message
    alone = f"/{PurePosixPath(place).name}"
    text = re.sub(rf"(?<![\w./`-]){part}{re.escape(alone)}(?![\w./-])", lambda _: place, message)
    return re.sub(rf"(?<![\w./`-]){part}(?=/\S| \(|: )", lambda _: place.rstrip("/") or place, text)
