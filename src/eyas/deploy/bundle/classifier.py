"""The network of a bundle, for ``predict.py`` and programs of one's own; needs onnxruntime, numpy and Pillow alone."""

import json
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from PIL import Image

if TYPE_CHECKING or __package__:  # within eyas
    from eyas.data.pixels import in_colours, network_input, turn_upright
else:  # in a bundle
    from pixels import in_colours, network_input, turn_upright


class Classifier:
    """Called with an image from :meth:`read`, gives each class's probability: ``(K,)``, or by pixel ``(K, H, W)``."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.folder, names = folder, ("labels.json", "preprocessing.json", "golden/expected.json")
        self.labels, self.how, self.golden = (json.loads((folder / name).read_text("utf-8")) for name in names)
        self.masks = "masks" in self.golden  # a class for each pixel
        self.pairs = self.golden["masks" if self.masks else "probabilities"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, threads
        self.session = onnxruntime.InferenceSession(folder / self.how["model"], options, ["CPUExecutionProvider"])

    def read(self, file: Path | IO[bytes]) -> Image.Image:
        """An image, turned upright and in the network's colours; raises what Pillow does for a file that is none."""
        with Image.open(file) as image:
            turn_upright(image)
            return in_colours(image, self.how["mode"])

    def __call__(self, image: Image.Image) -> Any:
        """The probabilities; as ``preprocessing.json`` says where the network's file does not do that itself."""
        if self.how["in_graph"]:
            pixels = np.asarray(image).reshape(1, image.height, image.width, -1)
            return self.session.run(["probabilities"], {"images": pixels})[0][0]
        logits = self.session.run(["logits"], {"images": network_input(image, self.how)})[0][0]
        powers = np.exp(logits - logits.max(0))
        return powers / powers.sum(0)

    def check(self) -> float:
        """Replay the golden pairs: how far a probability is off at most, of pixels how many have another class."""
        golden, largest = self.folder / "golden", 0.0
        fault = "a share of {:.3g} of its pixels has another class" if self.masks else "a probability is {:.3g} off"
        for name, expected in self.pairs.items():
            p = self(self.read(golden / name))
            off = p.argmax(0) != np.asarray(Image.open(golden / expected)) if self.masks else abs(p - expected)
            if not (difference := float(off.mean() if self.masks else off.max())) <= self.golden["tolerance"]:
                msg = f"golden/{name}: {fault.format(difference)}, allowed is {self.golden['tolerance']:g}"
                raise ValueError(msg)
            largest = max(largest, difference)
        return largest
