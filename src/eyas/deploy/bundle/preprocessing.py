"""``preprocessing.json``: what happens to an image before the network sees it, as data."""

from pydantic import BaseModel, ConfigDict

from eyas.data import Dataset
from eyas.data.decoding import MODES

PREPROCESSING = "preprocessing.json"
END_TO_END, NETWORK = "end_to_end.onnx", "model.onnx"
TRANSPARENT = 4  # channels


class PreprocessingRecord(BaseModel):
    """The content of ``preprocessing.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    """The file that ``predict.py`` runs."""
    in_graph: bool
    """Whether that file does what follows itself: it then takes unsigned bytes ``(N, H, W, C)`` of any size and gives
    probabilities, else normalised floats ``(N, C, size, size)`` and gives logits."""
    mode: str
    """Pillow's colour mode; images are turned upright by their EXIF orientation and converted to it first."""
    resize: int | None
    """Shorter edge before the centre crop (bilinear, antialiased); None: resized to ``size`` directly."""
    size: int
    """Height and width that the network sees."""
    mean: tuple[float, ...]
    """Per channel, of pixel values in [0, 1]."""
    std: tuple[float, ...]
    """Per channel: the network gets (pixel / 255 - mean) / std."""


def preprocessing_of(dataset: Dataset, *, in_graph: bool) -> PreprocessingRecord:
    """What the data set's images go through; not in the graph where Pillow weighs colours by their transparency."""
    image = dataset.manifest.image
    in_graph = in_graph and image.channels != TRANSPARENT
    return PreprocessingRecord(
        model=END_TO_END if in_graph else NETWORK, in_graph=in_graph, mode=MODES[image.channels],
        resize=image.resize, size=image.size, mean=dataset.mean, std=dataset.std,
    )  # fmt: skip
