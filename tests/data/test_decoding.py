"""Decoding: colour modes, sizes, and images that do not decode."""

import io
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from eyas.data.decoding import Preprocessing
from eyas.errors import DataError
from tests.support.image_sources import make_images, png


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_stored_pixels_come_back() -> None:
    pixels = make_images(1)[0]
    assert_array_equal(Preprocessing(3, 8)(png(pixels), "x"), pixels.transpose(2, 0, 1))
    assert_array_equal(Preprocessing(3, 8)(pixels, "x"), pixels.transpose(2, 0, 1))
    grey = make_images(1, channels=1)[0, ..., 0]
    assert_array_equal(Preprocessing(1, 8)(grey, "x"), grey[None])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_colour_mode_becomes_the_asked_channels(mode, channels) -> None:
    value = 255 if mode == "1" else 200
    grey = Image.new("L", (8, 8), value)
    if mode.startswith("I"):
        image = Image.fromarray(np.full((8, 8), 200 * 257, dtype=np.uint16 if mode == "I;16" else np.int32))
    elif mode == "LAB":
        pytest.skip("Pillow needs a profile to make one")
    else:
        image = grey.convert("RGB").convert(mode) if mode in {"PA", "HSV", "YCbCr", "CMYK"} else grey.convert(mode)
    kind = {"CMYK": "TIFF", "HSV": None, "YCbCr": "JPEG", "PA": None, "I": "TIFF"}.get(mode, "PNG")
    if kind is None:
        pytest.skip("no file format holds this mode")
    pixels = Preprocessing(channels, 8)(encoded(image, kind), "x")
    assert pixels.shape == (channels, 8, 8)
    assert abs(pixels.astype(int) - value).max() <= (1 if kind == "JPEG" else 0)


def test_a_palette_with_transparency_is_no_warning() -> None:
    image = Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4)
    data = encoded(image, transparency=bytes([255, 0, 0, 0]))
    expected = np.broadcast_to(np.array([10, 200, 30], np.uint8)[:, None, None], (3, 8, 8))
    assert_array_equal(Preprocessing(3, 8)(data, "x"), expected)


def test_resize_then_crop_takes_the_centre() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[10:30, 30:50] = 255  # the centre 20 x 20
    result = Preprocessing(3, 10, resize=20)(png(pixels), "x")  # halved to 20 x 40, the middle 10 x 10 kept
    assert result.shape == (3, 10, 10)
    assert result[:, 1:9, 1:9].min() == 255


def test_sizes_follow_the_shorter_edge() -> None:
    for shape in ((30, 50), (50, 30), (17, 17)):
        assert Preprocessing(1, 12, resize=16)(np.zeros(shape, np.uint8), "x").shape == (1, 12, 12)
        assert Preprocessing(1, 12)(np.zeros(shape, np.uint8), "x").shape == (1, 12, 12)


def test_a_flat_image_stays_flat_under_resizing() -> None:
    result = Preprocessing(3, 13, resize=19)(np.full((57, 31, 3), 77, np.uint8), "x")
    assert set(result.ravel().tolist()) == {77}


BROKEN = {
    "no image": b"hello",
    "empty": b"",
    "truncated": encoded(Image.fromarray(make_images(1, 64)[0]), "JPEG")[:-400],
    "truncated png": png(make_images(1, 64)[0])[:-600],
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_image_that_does_not_decode_is_named(kind) -> None:
    with pytest.raises(DataError, match=r"train/cat/7\.jpg does not decode"):
        Preprocessing(3, 64)(BROKEN[kind], "train/cat/7.jpg")


def test_a_bomb_is_refused() -> None:
    data = bytearray(png(make_images(1)[0]))
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # the header promises 3.6 gigapixels
    import zlib

    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(DataError, match="does not decode"):
        Preprocessing(3, 8)(bytes(data), "x")


def test_channels_and_sizes_are_checked() -> None:
    with pytest.raises(DataError, match="1, 3 or 4 channels, not 2"):
        Preprocessing(2, 8)
    with pytest.raises(DataError, match="`resize` 200 is smaller than `size` 224"):
        Preprocessing(3, 224, resize=200)


UPRIGHT = np.array([[0, 80], [160, 240], [40, 120]], np.uint8).repeat(8, 0).repeat(8, 1)
STORED = {  # how a camera stores an upright image, by the orientation it notes down (EXIF 2.32, section 4.6.4)
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_upright(orientation, kind) -> None:
    tag = Image.Exif()
    tag[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB")
    pixels = Preprocessing(3, 16, resize=16)(encoded(stored, kind, exif=tag, **options), "x")
    assert_array_equal(pixels[0], UPRIGHT[4:20])


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"junk", b"Exif\0\0MM\0*\0\0\0\x08\xff"]
)
@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning")
def test_damaged_exif_turns_nothing(exif) -> None:
    plain = Preprocessing(1, 16)(encoded(Image.fromarray(UPRIGHT), "JPEG"), "x")
    assert_array_equal(Preprocessing(1, 16)(encoded(Image.fromarray(UPRIGHT), "JPEG", exif=exif), "x"), plain)


def tiff(values: np.ndarray) -> bytes:
    return encoded(Image.fromarray(values), "TIFF")


@pytest.mark.parametrize("channels", [1, 3])
def test_floats_from_0_to_1_fill_the_range(channels) -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pixels = Preprocessing(channels, 8)(tiff(values), "x")
    assert_array_equal(pixels, np.broadcast_to(np.rint(values * 255), (channels, 8, 8)))


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_16_bits_fill_the_range(kind) -> None:
    values = np.linspace(0, 65535, 64).astype(kind).reshape(8, 8)
    assert_array_equal(Preprocessing(1, 8)(tiff(values), "x")[0], values // 257)


def tiff_by_hand(data: bytes, bits: int, photometric: int, kind: int = 1) -> bytes:
    """An uncompressed grey TIFF of 8 x 8 (TIFF 6.0, sections 2 to 4): Pillow writes none where 0 is white."""
    tags = {256: 8, 257: 8, 258: bits, 259: 1, 262: photometric, 273: 134, 277: 1, 278: 8, 279: len(data), 339: kind}
    entries = b"".join(
        struct.pack("<HHII", number, 4 if number in {273, 279} else 3, 1, tags[number]) for number in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0" * 4 + data


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.mark.parametrize(
    ("data", "bits", "kind"),
    [
        (GREY, 8, 1),
        (GREY.astype("<u2") * 257, 16, 1),
        ((GREY / np.float32(255)).astype("<f4"), 32, 3),
    ],
)
@pytest.mark.parametrize("zero_is_white", [False, True])
def test_a_tiff_says_whether_0_is_black_or_white(data, bits, kind, zero_is_white) -> None:
    pixels = Preprocessing(1, 8)(tiff_by_hand(data.tobytes(), bits, 1 - zero_is_white, kind), "x")[0]
    assert_array_equal(pixels, 255 - GREY if zero_is_white else GREY)


def test_a_tiff_says_that_it_holds_12_bits() -> None:
    values = np.linspace(0, 4095, 64).astype(int)
    packed = b"".join((a << 12 | b).to_bytes(3, "big") for a, b in values.reshape(-1, 2).tolist())
    decoded = Preprocessing(1, 8).decode(tiff_by_hand(packed, 12, 1), "x")
    assert_array_equal(decoded.pixels.ravel(), values * 255 // 4095)
    assert decoded.peak is None


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_the_largest_of_16_bits_is_told(kind) -> None:
    values = np.zeros((8, 8), kind)
    values[2, 3] = 4000
    assert Preprocessing(1, 4, resize=4).decode(tiff(values), "x").peak == 4000
    assert Preprocessing(1, 8).decode(png(make_images(1)[0]), "x").peak is None


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (1.5, np.float32, "0 to 1.5; of its kind .F. 0 to 1"),
        (-0.1, np.float32, "from -0.1"),
        (np.nan, np.float32, "nan"),
        (70_000, np.int32, "0 to 70000; of its kind .I. 0 to 65535"),
        (-3, np.int32, "from -3 to 0"),
    ],
)
def test_values_outside_the_range_are_refused(value, kind, words) -> None:
    values = np.zeros((8, 8), kind)
    values[3, 4] = value
    with pytest.raises(DataError, match=f"x does not decode: its values .*{words}"):
        Preprocessing(1, 8)(tiff(values), "x")
