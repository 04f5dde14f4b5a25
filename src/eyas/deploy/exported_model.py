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

from eyas.deploy.runtimes import Runtime
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

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of its images."""
        channels, height, width = self.manifest["input"]["shape"]
        return channels, height, width

    @property
    def resize(self) -> int | None:
        """Shorter edge of its images before the centre crop; None where there is no crop, or where it is not known."""
        resize: int | None = self.manifest["input"].get("resize")
        return resize

    @property
    def knows_resize(self) -> bool:
        """Whether its manifest says how images are resized; manifests did not always."""
        return "resize" in self.manifest["input"]

    def answers_as(self, other: "ExportedModel") -> bool:
        """Whether both mean the same classes, in the same order, and can be fed the same photographs.

        Each gets them decoded as its own manifest says; where one does not say, only what is not cropped is alike.
        """
        if (self.manifest["classes"], self.kind) != (other.manifest["classes"], other.kind):
            return False
        if self.kind != "classification" and (self.shape, self.resize) != (other.shape, other.resize):
            return False  # masks are scaled with their images, so that answers are held against other labels
        both_known = self.knows_resize and other.knows_resize
        return both_known or (self.shape == other.shape and self.resize is None and other.resize is None)

    def made_from_as(self, other: "ExportedModel") -> bool:
        """Whether both were pruned from the same dense network, by its exported file."""
        digests = [one.manifest["files"].get("dense.onnx", {}).get("sha256") for one in (self, other)]
        return digests[0] is not None and digests[0] == digests[1]

    @property
    def kind(self) -> str:
        """Of its task, as :class:`eyas.data.tasks.Task` has it."""
        kind: str = self.manifest.get("task", "classification")
        return kind

    @property
    def task(self) -> str:
        """What goes in and what comes out, in words."""
        names = self.manifest["classes"]
        crop = f", cut out of a shorter edge of {self.resize}," if self.resize else ""
        resized = crop if self.knows_resize else ", resized in a way that was not recorded,"
        images = f"images of {' x '.join(map(str, self.shape))}{resized}"
        what = "" if self.kind == "classification" else f" for {self.kind}"
        return f"{images}{what} in {len(names)} classes ({', '.join(names[:3])}, ...)"

    def answers(self, pixels_NCHW: Tensor, file: str = "model.onnx") -> NDArray[np.int64]:
        """Top-1 class of each image, ``(N,)``, or of each pixel, ``(N, H, W)``.

        Args:
            pixels_NCHW: unsigned bytes; normalised here as this version was trained with.
            file: ``model.onnx`` or ``dense.onnx``.

        Raises:
            DataError: the images have another shape than the version takes.
        """
        if tuple(pixels_NCHW.shape[1:]) != self.shape:
            msg = (
                f"{self.folder}: takes images of {self.shape} (C, H, W), the test images are "
                f"{tuple(pixels_NCHW.shape[1:])}: the versions cannot be compared on them"
            )
            raise DataError(msg)
        opened = Runtime.of(self.folder / file).open(self.folder / file)
        batches = torch.split(pixels_NCHW, BATCH)
        parts = [opened.logits(self.normalise(part)).argmax(1).numpy() for part in batches]
        return np.concatenate(parts).astype(np.int64)

    def probabilities(self, pixels_NCHW: Tensor, file: str = "model.onnx") -> NDArray[np.float32]:
        """How probable each class is, ``(N, K)``; where each pixel is answered, the class's share of the pixels."""
        opened = Runtime.of(self.folder / file).open(self.folder / file)
        answers = opened.logits(self.normalise(pixels_NCHW)).float()
        if answers.ndim == 2:
            return answers.softmax(1).numpy()
        classes = torch.arange(answers.shape[1])
        return (answers.argmax(1).flatten(1)[:, None] == classes[:, None]).float().mean(-1).numpy()

    def parity_within(self, max_difference: float, min_agreement: float) -> bool:
        """Whether the recorded comparison of the float32 file with PyTorch lies within limits."""
        path = self.folder / "parity.json"
        if not path.exists():
            return False
        parity = json.loads(path.read_text())["files"]["model.onnx"]
        return bool(parity["max_difference"] <= max_difference and parity["agreement"] >= min_agreement)

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        """Unsigned bytes as the floats that this version was trained with, same shape."""
        shape = (-1, 1, 1)
        mean, std = (torch.tensor(self.manifest["input"][name]).view(shape) for name in ("mean", "std"))
        return (pixels_NCHW.to(torch.float32) / 255 - mean) / std
