"""What the bundle reads is what the network was trained on, whatever kind of file it comes in."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eyas.data.decoding import Preprocessing
from eyas.deploy.bundle.classifier import Classifier
from tests.support.colour_bundle import MEAN, SIZE, STD, Made, colour_network, photograph


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


def deep_grey() -> bytes:
    return saved(Image.fromarray(np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)), "PNG")


KINDS = {
    **{f"orientation {number}": turned(number) for number in (1, 3, 6, 8)},
    **{mode: transparent(mode) for mode in ("RGBA", "LA")},
    "palette": palette(),
    "16 bits": deep_grey(),
    "grey": saved(photograph("blue", (9, 31)).convert("L"), "PNG"),
    "CMYK": saved(photograph("blue", (31, 9)).convert("CMYK"), "JPEG"),
    "one pixel": saved(photograph("blue", (1, 1)), "BMP"),
    "WEBP": saved(photograph("green", (7, 5)), "WEBP"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["made", "made_as_data"])
def test_answers_are_pytorchs_on_the_pipelines_own_pixels(
    kind: str, where: str, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(where)
    classifier = Classifier(made.folder, threads=1)
    content = KINDS[kind]
    resize = made.dataset.manifest.image.resize
    pixels = torch.from_numpy(Preprocessing(3, SIZE, resize)(content, kind).copy()) / 255
    normalised = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        expected = colour_network()(normalised[None]).softmax(1)[0].numpy()
    actual = classifier(classifier.read(io.BytesIO(content)))
    assert expected.max() > 0.35
    np.testing.assert_allclose(actual, expected, atol=2e-3)


def test_values_of_more_than_8_bits_are_refused_where_their_range_is_unknown(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "deep.tiff"
    Image.fromarray(np.full((20, 20), 0.5, np.float32)).save(path)
    with pytest.raises(ValueError, match="TIFF of more than 8 bits per value: save it with 8"):
        Classifier(made.folder, threads=1).read(path)


def test_both_files_agree_with_pytorch(made: Made, made_as_data: Made) -> None:
    assert made.parity.images == made_as_data.parity.images == 2 * min(32, len(made.dataset.split("test")))
    assert made.parity.agreement == made_as_data.parity.agreement == 1
    assert 0 < made_as_data.parity.max_difference < 1e-5
    assert 0 < made.parity.max_difference < 1e-2
