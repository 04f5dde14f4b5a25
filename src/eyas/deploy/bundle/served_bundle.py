"""A bundle behind MLflow: what ``mlflow models serve`` and ``mlflow.pyfunc.load_model`` run, without our code.

This file is copied into the registered model; beside MLflow it needs what the bundle needs. One row per image: column
``image`` holds the bytes of a file (JPEG, PNG, ...), which the server takes in base64.
"""

import base64
import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAMS = ("classifier", "mask_pictures", "pixels")


class ServedBundle:
    """Answers with ``class``, ``probability`` and ``probabilities`` by class name for each image.

    Where each pixel has a class: with ``mask``, a PNG in base64 as large as the image, and ``shares`` by class name.
    """

    def __init__(self, folder: Path) -> None:
        with _programs_of(folder):
            self.classifier = importlib.import_module("classifier").Classifier(folder, threads=1)
            if self.classifier.masks:
                self.pictures = importlib.import_module("mask_pictures")

    def predict(self, images: Any) -> list[dict[str, Any]]:
        """Answer a table with the column ``image``.

        Raises:
            ValueError: an image cannot be read; says which.
        """
        return [self._answer(row, image) for row, image in enumerate(images["image"])]

    def _answer(self, row: int, image: bytes | str) -> dict[str, Any]:
        try:
            content = base64.b64decode(image, validate=True) if isinstance(image, str) else image
            opened = self.classifier.read(io.BytesIO(content))
            probabilities = self.classifier(opened)
        except Exception as error:  # Pillow raises nearly anything for a damaged file
            msg = f"image {row} cannot be read: {' '.join(str(error).split())}"
            raise ValueError(msg) from error
        if self.classifier.masks:
            return self._mask(opened, probabilities)
        by_name = dict(zip(self.classifier.labels, probabilities.tolist(), strict=True))
        best = max(by_name, key=by_name.__getitem__)
        return {"class": best, "probability": by_name[best], "probabilities": by_name}

    def _mask(self, image: Any, probabilities_KHW: Any) -> dict[str, Any]:
        picture, shares = io.BytesIO(), self.pictures.shares_of(probabilities_KHW).tolist()
        self.pictures.picture_on(probabilities_KHW.argmax(0), image.size, self.classifier.how).save(picture, "PNG")
        by_name = dict(zip(self.classifier.labels, shares, strict=True))
        return {"mask": base64.b64encode(picture.getvalue()).decode(), "shares": by_name}


@contextmanager
def _programs_of(folder: Path) -> Iterator[None]:
    """Import from a bundle; no module stays behind that could be taken for another bundle's, or anybody's."""
    others = {name: sys.modules.pop(name) for name in PROGRAMS if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in PROGRAMS:
            sys.modules.pop(name, None)
        sys.modules.update(others)


def _load_pyfunc(folder: str) -> ServedBundle:
    """What MLflow calls with the bundle's folder."""
    return ServedBundle(Path(folder))
