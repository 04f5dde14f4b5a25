import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eyas.data.decoding import Preprocessing
from eyas.deploy.bundle.preprocessing import PreprocessingRecord
from eyas.deploy.bundle.preprocessing_graph import preprocessing_graph, write_end_to_end
from eyas.deploy.exporters import Exporter

SIZES = [
    (16, 16),
    (8, 5),
    (1, 1),
    (23, 40),
    (40, 23),
    (9, 31),
    (31, 9),
    (16, 50),
    (50, 16),
    (200, 133),
    (17, 300),
    (40, 90),
]


def record(resize: int | None, channels: int = 3) -> PreprocessingRecord:
    mode = {1: "L", 3: "RGB"}[channels]
    facts = {"model": "end_to_end.onnx", "in_graph": True, "mode": mode, "resize": resize, "size": 16}
    return PreprocessingRecord(mean=(0.5,) * channels, std=(0.25,) * channels, **facts)


class Several(nn.Module):
    """Answers with logits and something else."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = images.mean((2, 3))
        return {"features": features * 2, "logits": self.linear(features)}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory):
    torch.manual_seed(0)
    model = Several().eval()
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    return model, Exporter.parse("onnx")(model, torch.zeros(2, 3, 16, 16), path)


def run_graph(preprocessing: PreprocessingRecord, images_NHWC: np.ndarray, network) -> np.ndarray:
    """The preprocessing alone, back to levels of 0 to 255, (N, H, W, C)."""
    proto = preprocessing_graph(preprocessing, onnx.load(network[1]))
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"images": images_NHWC})
    return ((values * 0.25 + 0.5) * 255).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("resize", [None, 16, 21])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_those_of_pillow(size: tuple[int, int], resize: int | None, network) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    expected = Preprocessing(3, 16, resize)(pixels, "noise").transpose(1, 2, 0)
    (levels,) = run_graph(record(resize), pixels[None], network)
    difference = np.abs(levels - expected)
    assert difference.max() < 1.01
    assert (difference > 0.5).mean() < 0.05  # of the values, those halfway between two levels


def test_grey_pixels_in_a_batch(network) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 1), dtype=np.uint8)
    levels = run_graph(record(18, 1), pixels, network)
    for image, actual in zip(pixels, levels, strict=True):
        expected = Preprocessing(1, 16, 18)(image[..., 0], "noise").transpose(1, 2, 0)
        assert np.abs(actual - expected).max() < 1.01


def test_whole_file_gives_probabilities_of_the_judged_output(network, tmp_path) -> None:
    model, path = network
    whole = write_end_to_end(path, record(None), tmp_path / "end_to_end.onnx")
    proto = onnx.load(whole)
    onnx.checker.check_model(proto, full_check=True)
    assert [(value.name, value.type.tensor_type.elem_type) for value in proto.graph.input] == [
        ("images", onnx.TensorProto.UINT8)
    ]
    assert [value.name for value in proto.graph.output] == ["probabilities"]
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 33, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    (actual,) = session.run(None, {"images": pixels})
    small = [np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)) for image in pixels]
    normalised = (torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        expected = model(normalised)["logits"].softmax(1).numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-3)
    np.testing.assert_allclose(actual.sum(1), 1, rtol=1e-5)


def test_equal_files_give_equal_bytes(network, tmp_path) -> None:
    first, second = (write_end_to_end(network[1], record(20), tmp_path / name) for name in ("a.onnx", "b.onnx"))
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()
