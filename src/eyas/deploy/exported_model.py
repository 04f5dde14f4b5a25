"""A network as it was exported, asked without PyTorch: its ONNX files and the input its manifest describes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from eyas.deploy import onnx_runtime
from eyas.errors import DataError

BATCH = 256


@dataclass(frozen=True)
class ExportedModel:
    """The exported files of one version."""

    folder: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "ExportedModel":
        """Read the manifest; the files were verified when they were fetched."""
        return cls(folder, json.loads((folder / "manifest.json").read_text()))

    def answers_as(self, other: "ExportedModel") -> bool:
        """Whether both take the same images and mean the same classes, in the same order."""
        mine, theirs = self.manifest, other.manifest
        return bool(mine["input"]["shape"] == theirs["input"]["shape"] and mine["classes"] == theirs["classes"])

    @property
    def task(self) -> str:
        """What goes in and what comes out, in words."""
        shape, names = self.manifest["input"]["shape"], self.manifest["classes"]
        return f"images of {' x '.join(map(str, shape))} in {len(names)} classes ({', '.join(names[:3])}, ...)"

    def answers(self, pixels_NCHW: Tensor, file: str = "model.onnx") -> NDArray[np.int64]:
        """Top-1 class of each image, ``(N,)``.

        Args:
            pixels_NCHW: unsigned bytes; normalised here as this version was trained with.
            file: ``model.onnx`` or ``dense.onnx``.

        Raises:
            DataError: the images have another shape than the version takes.
        """
        expected = tuple(self.manifest["input"]["shape"])
        if tuple(pixels_NCHW.shape[1:]) != expected:
            msg = (
                f"{self.folder}: takes images of {expected} (C, H, W), the test images are "
                f"{tuple(pixels_NCHW.shape[1:])}: the versions cannot be compared on them"
            )
            raise DataError(msg)
        opened = onnx_runtime.session(self.folder / file)
        batches = torch.split(pixels_NCHW, BATCH)
        parts = [onnx_runtime.logits(opened, self._normalise(part)).argmax(1).numpy() for part in batches]
        return np.concatenate(parts).astype(np.int64)

    def parity_within(self, max_difference: float, min_agreement: float) -> bool:
        """Whether the recorded comparison of the float32 file with PyTorch lies within limits."""
        path = self.folder / "parity.json"
        if not path.exists():
            return False
        parity = json.loads(path.read_text())["files"]["model.onnx"]
        return bool(parity["max_difference"] <= max_difference and parity["agreement"] >= min_agreement)

    def _normalise(self, pixels_NCHW: Tensor) -> Tensor:
        shape = (-1, 1, 1)
        mean, std = (torch.tensor(self.manifest["input"][name]).view(shape) for name in ("mean", "std"))
        return (pixels_NCHW.to(torch.float32) / 255 - mean) / std
