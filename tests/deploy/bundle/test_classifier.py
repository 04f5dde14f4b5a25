"""What the bundle reads is what the network was trained on, whatever kind of file it comes in."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data.decoding import Preprocessing
from eyas.deploy.bundle.classifier import Classifier
from tests.support.colour_bundle import SIZE, Made, colour_network, make_colours, photograph


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    half = np.asarray(photograph("red", (40, 30))).copy()
    half[:, 20:] = (0, 0, 255)
    return saved(Image.fromarray(half), "JPEG", exif=exif)


def transparent(mode: str) -> bytes:
    image = photograph("green", (30, 24)).convert("RGBA")
    alpha = np.linspace(0, 255, 30).astype(np.uint8)
    image.putalpha(Image.fromarray(np.tile(alpha, (24, 1))))
    return saved(image.convert(mode), "PNG")


def palette() -> bytes:
    return saved(photograph("red", (30, 24)).quantize(8), "PNG", transparency=3)


RAMP = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
KINDS = {
    **{f"orientation {number}": turned(number) for number in (1, 3, 6, 8)},
    **{mode: transparent(mode) for mode in ("RGBA", "LA")},
    "palette": palette(),
    "16 bits": saved(Image.fromarray(RAMP), "PNG"),
    "16 bits, TIFF": saved(Image.fromarray(RAMP), "TIFF"),
    "16 bits, white is 0": saved(Image.fromarray(RAMP), "TIFF", tiffinfo={262: 0}),
    "32 bits": saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "floats": saved(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"),
    "bilevel": saved(Image.fromarray(RAMP > 30000), "PNG"),
    "EXIF that is damaged": turned(6).replace(b"MM\x00*", b"MM\xff*"),
    "grey": saved(photograph("blue", (9, 31)).convert("L"), "PNG"),
    "CMYK": saved(photograph("blue", (31, 9)).convert("CMYK"), "JPEG"),
    "one pixel": saved(photograph("blue", (1, 1)), "BMP"),
    "WEBP": saved(photograph("green", (7, 5)), "WEBP"),
}


SHAPES = {(1, True): None, (1, False): 20, (3, True): 20, (3, False): None, (4, False): 20}
"""Shorter edge before the crop, by channels and whether the graph resizes."""
ALONE = """
import io, json, sys
sys.modules |= dict.fromkeys(("torch", "eyas", "onnx", "pydantic"))  # importing these fails
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from classifier import Classifier
classifier = Classifier(Path(sys.argv[1]), threads=1)
files = map(Path, sys.argv[2:])
print(json.dumps({file.name: classifier(classifier.read(file)).tolist() for file in files}))
"""


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def made_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Bundles of networks for grey, RGB and RGBA."""
    (channels, in_graph), resize = request.param, SHAPES[request.param]
    return make_colours(tmp_path_factory.mktemp("made"), in_graph=in_graph, resize=resize, channels=channels)


def test_alone_it_answers_as_pytorch_does_on_the_pipelines_own_pixels(made_of: Made, tmp_path: Path) -> None:
    for kind, content in KINDS.items():
        (tmp_path / kind).write_bytes(content)
    command = [sys.executable, "-c", ALONE, str(made_of.folder), *(str(tmp_path / kind) for kind in KINDS)]
    answers = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    image = made_of.dataset.manifest.image
    read, network = Preprocessing(image.channels, SIZE, image.resize), colour_network(image.channels)
    pixels = torch.from_numpy(np.stack([read(content, kind) for kind, content in KINDS.items()]))
    with torch.inference_mode():
        expected = network(made_of.dataset.normalise(pixels)).softmax(1).numpy()
    assert list(answers) == list(KINDS)
    assert expected.max(1).min() > 0.34
    in_graph = json.loads((made_of.folder / "preprocessing.json").read_text())["in_graph"]
    np.testing.assert_allclose(np.array([*answers.values()]), expected, atol=2e-3 if in_graph else 1e-5)


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan])
def test_values_beyond_what_is_known_of_their_kind_are_refused(made: Made, tmp_path: Path, value: float) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.full((20, 20), value, np.float32)).save(path)
    with pytest.raises(ValueError, match=r"its values go from .*; of its kind \(F\) 0 to 1 are understood"):
        Classifier(made.folder, threads=1).read(path)


def test_both_files_agree_with_pytorch(made: Made, made_as_data: Made) -> None:
    assert made.parity.images == made_as_data.parity.images == 2 * min(32, len(made.dataset.split("test")))
    assert made.parity.agreement == made_as_data.parity.agreement == 1
    assert 0 < made_as_data.parity.max_difference < 1e-5
    assert 0 < made.parity.max_difference < 1e-2
