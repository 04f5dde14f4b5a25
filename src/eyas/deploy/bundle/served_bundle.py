"""A bundle behind MLflow: what ``mlflow models serve`` and ``mlflow.pyfunc.load_model`` run, without our code.

This file is copied into the registered model; beside MLflow it needs what the bundle needs. One row per image: column
``image`` holds the bytes of a file (JPEG, PNG, ...), which the server takes in base64.
"""

import base64
import importlib.util
import io
from pathlib import Path
from typing import Any


class ServedBundle:
    """Answers with ``class``, ``probability`` and ``probabilities`` by class name for each image."""

    def __init__(self, folder: Path) -> None:
        spec = importlib.util.spec_from_file_location("bundle_classifier", folder / "classifier.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.classifier = module.Classifier(folder, threads=1)

    def predict(self, images: Any) -> list[dict[str, Any]]:
        """Answer a table with the column ``image``.

        Raises:
            ValueError: an image cannot be read; says which.
        """
        return [self._answer(row, image) for row, image in enumerate(images["image"])]

    def _answer(self, row: int, image: bytes | str) -> dict[str, Any]:
        try:
            content = base64.b64decode(image, validate=True) if isinstance(image, str) else image
            probabilities = self.classifier(self.classifier.read(io.BytesIO(content))).tolist()
        except Exception as error:  # Pillow raises nearly anything for a damaged file
            msg = f"image {row} cannot be read: {' '.join(str(error).split())}"
            raise ValueError(msg) from error
        best = max(range(len(probabilities)), key=probabilities.__getitem__)
        labels = self.classifier.labels
        by_name = dict(zip(labels, probabilities, strict=True))
        return {"class": labels[best], "probability": probabilities[best], "probabilities": by_name}


def _load_pyfunc(folder: str) -> ServedBundle:
    """What MLflow calls with the bundle's folder."""
    return ServedBundle(Path(folder))
