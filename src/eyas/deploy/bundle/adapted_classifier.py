"""The network of a bundle with other batch-norm statistics; needs onnxruntime, numpy and Pillow alone."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from PIL import Image

if TYPE_CHECKING or __package__:  # within eyas
    from eyas.deploy.bundle.classifier import Classifier
    from eyas.deploy.bundle.label_free_rule import read_rule
else:  # in a bundle
    from classifier import Classifier
    from label_free_rule import read_rule

TYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
Arrays = dict[str, Any]


class AdaptedClassifier(Classifier):
    """The same, with statistics from a file; :meth:`check` asks whether the golden images keep their classes."""

    def __init__(self, folder: Path, statistics: Path, threads: int = 0) -> None:
        super().__init__(folder, threads)
        self.how = {**self.how, "in_graph": False}
        self.statistics = accepted(statistics, read_tensors(folder / "bn_statistics.safetensors"))
        self.session = open_session(folder / "adaptable.onnx", threads, self.statistics)

    def check(self) -> float:
        """Share of the golden images, or of their pixels, that get another class than PyTorch gave before.

        Raises ValueError where it is more than the rule lets a canary lose: following a strong change costs much there.
        """
        golden, changed = self.folder / "golden", []
        for name, expected in self.pairs.items():
            answer = self(self.read(golden / name)).argmax(0)
            before = np.asarray(Image.open(golden / expected)) if self.masks else np.argmax(expected)
            changed.append(np.mean(answer != before))
        most = read_rule(self.folder)["limits"]["max_canary_loss"]
        if (share := float(np.mean(changed))) > most:
            msg = f"{share:.0%} of the golden images get another class, at most {most:.0%} may: keep the old"
            raise ValueError(msg)
        return share


def open_session(model: Path, threads: int, statistics: Arrays) -> Any:
    """A session in which these statistics stand in the place of the file's own."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in statistics.values()]
    options.add_external_initializers(list(statistics), values)
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def accepted(file: Path, source: Arrays) -> Arrays:
    """The statistics of a file as float32, if they can be those of a network that had ``source``."""
    kinds = (".mean", ".var")
    sizes = {name: value.shape for name, value in source.items() if name.endswith(kinds)}
    with np.errstate(over="ignore"):
        tensors = read_tensors(file).items()
        statistics = {name: value.astype(np.float32) for name, value in tensors if name.endswith(kinds)}
    if lone := statistics.keys() ^ sizes.keys():
        msg = f"{file} and the network do not have the same layers: only one of them has {ascii(min(lone))[1:-1]}"
        raise ValueError(msg)
    for name, value in statistics.items():
        if value.shape != sizes[name] or not np.isfinite(value).all() or (name.endswith(".var") and (value < 0).any()):
            msg = f"{file}: {name} is of another size, not finite, or a negative variance"
            raise ValueError(msg)
    return statistics


def read_tensors(file: Path) -> Arrays:
    """What a file of safetensors holds."""
    try:
        content = file.read_bytes()
        length = 8 + int.from_bytes(content[:8], "little")
        header, data = json.loads(content[8:length]), memoryview(content)[length:]
        header.pop("__metadata__", None)
        return {
            name: np.frombuffer(data[slice(*told["data_offsets"])], TYPES[told["dtype"]]).reshape(told["shape"])
            for name, told in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{file} holds no statistics: it is no file of safetensors"
        raise ValueError(msg) from error


def write_tensors(arrays: Arrays, file: Path) -> None:
    """Write safetensors: the length of a header of JSON, the header, the numbers."""
    names, header, end = {np.dtype(kind): name for name, kind in TYPES.items()}, {}, 0
    for name, value in arrays.items():
        start, end = end, end + value.nbytes
        header[name] = {"dtype": names[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in arrays.values()))
