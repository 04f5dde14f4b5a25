"""The network of a bundle, for ``predict.py`` and programs of one's own; needs onnxruntime, numpy and Pillow alone."""

import json
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Classifier:
    """Called with an image from :meth:`read`, gives each class's probability, ``(K,)``."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        names = ("labels.json", "preprocessing.json", "golden/expected.json")
        self.folder = folder
        self.labels, self.how, self.golden = (json.loads((folder / name).read_text("utf-8")) for name in names)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, threads
        self.session = onnxruntime.InferenceSession(folder / self.how["model"], options, ["CPUExecutionProvider"])

    def read(self, file: Path | IO[bytes]) -> Image.Image:
        """An image, turned upright and in the network's colours; raises what Pillow does for a file that is none."""
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16") and opened.format == "PNG":
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        if image.mode[0] in "IF":
            msg = f"{opened.format} of more than 8 bits per value: save it with 8"
            raise ValueError(msg)
        return (image.convert("RGBA") if "transparency" in image.info else image).convert(self.how["mode"])

    def __call__(self, image: Image.Image) -> Any:
        """The probabilities; as ``preprocessing.json`` says where the network's file does not do that itself."""
        if self.how["in_graph"]:
            pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
            return self.session.run(["probabilities"], {"images": pixels})[0][0]
        size, resize = self.how["size"], self.how["resize"]
        edges = [resize * edge // min(image.size) for edge in image.size] if resize else [size, size]
        left, top = (round((edge - size) / 2) for edge in edges)
        image = image.resize(edges, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
        pixels = np.asarray(image).reshape(1, size, size, -1)
        values = ((pixels / 255 - self.how["mean"]) / self.how["std"]).transpose(0, 3, 1, 2)
        logits = self.session.run(["logits"], {"images": values.astype(np.float32)})[0][0]
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()

    def check(self) -> float:
        """Replay the golden pairs: the largest difference of a probability; ``ValueError`` where it is too large."""
        largest = 0.0
        for name, expected in self.golden["probabilities"].items():
            difference = float(np.abs(self(self.read(self.folder / "golden" / name)) - expected).max())
            if not difference <= self.golden["tolerance"]:
                msg = f"golden/{name}: a probability is {difference:.3g} off, allowed is {self.golden['tolerance']:g}"
                raise ValueError(msg)
            largest = max(largest, difference)
        return largest
