"""Data sets that need no download."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from eyas.data.formats.idx import write_idx
from eyas.data.shapes import write_shapes
from eyas.errors import DataError


def digits(folder: Path) -> None:
    """Scikit-learn's 1,797 handwritten digits (8 x 8, values 0 to 16 scaled to 0 to 255) as a pair of IDX files."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    write_idx(folder / "digits-images-idx3-ubyte", images)
    write_idx(folder / "digits-labels-idx1-ubyte", bunch.target.astype(np.uint8))


def shapes(folder: Path) -> None:
    """600 images of discs, squares and triangles before textures, and their masks."""
    write_shapes(folder, images=600, size=32)


BUILTINS: dict[str, Callable[[Path], None]] = {"digits": digits, "shapes": shapes}


def check_builtin(name: str) -> None:
    """See that there is a built-in data set of that name.

    Raises:
        DataError: there is none.
    """
    if name not in BUILTINS:
        msg = f"no built-in data set {name!r}: there are {', '.join(BUILTINS)}"
        raise DataError(msg)


def write_builtin(name: str, folder: Path) -> None:
    """Write a built-in data set's files.

    Raises:
        DataError: there is none of that name.
    """
    check_builtin(name)
    BUILTINS[name](folder)
