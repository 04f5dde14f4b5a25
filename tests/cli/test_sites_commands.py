"""``eyas sites`` as sites and coordinator type it: two networks, two sites, digits as pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from PIL import Image
from sklearn.datasets import load_digits

from eyas.adaptation.sites.site_message import MAX_BYTES, SiteMessage
from eyas.cli import main
from eyas.networks.saved_network import Network, save_network
from models import build

CLASSES = ["one", "three", "zero"]
NUMBERS = {"zero": 0, "one": 1, "three": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, what a bundle says of images, and images: ``south`` has one class, and brighter."""
    folder = tmp_path_factory.mktemp("sites")
    for width in (4, 8):
        arguments = {"name": "resnet8", "num_classes": 3, "width": width, "in_channels": 1}
        network = Network(build(**arguments).eval(), "models:build", arguments, (1, 8, 8))
        save_network(network, folder / f"width{width}")
    (folder / "bundle").mkdir()
    (folder / "bundle/labels.json").write_text(json.dumps(CLASSES))
    how = {
        "model": "model.onnx",
        "in_graph": False,
        "mode": "L",
        "resize": None,
        "size": 8,
        "mean": [0.3],
        "std": [0.4],
    }
    (folder / "bundle/preprocessing.json").write_text(json.dumps(how))
    digits = load_digits()
    for name, number in NUMBERS.items():
        for at, pixels in enumerate(digits.images[digits.target == number][:12]):
            site, light = ("south", 60) if name == "three" else ("north", 0)
            path = folder / site / name / f"{at}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.minimum(pixels * 12 + light, 255).astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with all of it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def eyas(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, list[str], str]:
    """Status, lines printed, and what went to standard error."""
    status = main(["sites", *line.split()])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err.strip()


def of(site: str) -> str:
    return f"exchange width4 width8 --site {site} --images {site} --bundle bundle"


def test_two_sites_choose_a_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for site in ("north", "south"):
        status, lines, _ = eyas(capsys, f"collect {of(site)}")
        assert status == 0
        assert lines[0] == f"width4: statistics of 7 layers on {24 if site == 'north' else 12} images of {site}"
    assert eyas(capsys, "merge exchange width4 width8") == (
        0,
        [f"width{width}: merged north (24 images), south (12 images)" for width in (4, 8)],
        "36 images are few, collect at least 64",
    )
    for site in ("north", "south"):
        status, lines, _ = eyas(capsys, f"judge {of(site)}")
        assert (status, len(lines)) == (0, 2)
    status, lines, _ = eyas(capsys, "rank exchange width4 width8 --json")
    ranked = json.loads("\n".join(lines))
    assert [one["images"] for one in ranked] == [36, 36]
    assert ranked[0]["cross_entropy"] < ranked[1]["cross_entropy"]
    for one in ranked:
        by_site = one["by_site"]
        assert one["cross_entropy"] == pytest.approx((24 * by_site["north"] + 12 * by_site["south"]) / 36)
    status, lines, _ = eyas(capsys, "rank exchange width8 width4")
    assert lines[0].startswith(f"1. {ranked[0]['name']}: cross-entropy {ranked[0]['cross_entropy']:.4f} (north ")
    assert len(list(Path("exchange").iterdir())) == 10  # 2 networks: merged, and 2 sites' statistics and losses


def test_layer_by_layer_takes_a_round_per_layer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = "exchange width4 --site {0} --images {0} --bundle bundle --exact"
    for _ in range(2):
        for site in ("north", "south"):
            assert eyas(capsys, f"collect {one.format(site)}")[0] == 0
        assert eyas(capsys, "merge exchange width4 --exact")[0] == 0
    status, _, told = eyas(capsys, "merge exchange width4 --exact")
    assert (status, told) == (2, "error: the statistics of north are not those of this round: let it collect again")
    status, _, told = eyas(capsys, "judge exchange width4 --site north --images north --bundle bundle")
    assert status == 2
    assert "the merged statistics lack 5 layers" in told


def test_networks_whose_statistics_are_of_other_images_are_not_ranked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (f"collect {of('north')}", "collect exchange width4 --site south --images south --bundle bundle"):
        assert eyas(capsys, line)[0] == 0
    assert eyas(capsys, "merge exchange width4 width8")[0] == 0
    assert eyas(capsys, f"judge {of('north')}")[0] == 0
    status, _, told = eyas(capsys, "rank exchange width4 width8")
    assert status == 2
    assert "statistics are merged of other images for each network (width4 36, width8 24)" in told


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("collect {north} --site ../x", "--site ../x: give 1 to 63 letters"),
        ("collect {north} --site coordinator", "and not coordinator"),
        ("collect {north} --images nowhere", "nowhere: there is no such file or folder"),
        ("collect {north} --images width4", "width4 holds no image"),
        ("collect {north} --bundle width4", "name the bundle of the network"),
        ("judge {north}", "width4: its statistics are not merged yet"),
        (
            "judge {north} --images .",
            "'north' is no class of the network; expected a folder for each of one",
        ),
        ("merge exchange width4", "exchange: there is no such file or folder"),
        ("merge south width4", "there are no statistics to merge: let each site collect them"),
        ("rank south width4", "width4: its statistics are not merged yet"),
        ("rank south width4 ./width4", "a network is named twice among width4, width4"),
        ("collect ftp://x width4 --site n --images north --bundle bundle", "http:// or https://"),
        ("collect http://x width4 --site n --images north --bundle bundle", "set EYAS_SITES_SECRET to a secret"),
        ("serve exchange width4", "set EYAS_SITES_SECRET to a secret of at least 16 bytes"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.delenv("EYAS_SITES_SECRET", raising=False)
    status, _, told = eyas(capsys, line.replace("{north}", of("north")))
    assert status == 2
    assert message in told
    assert "\n" not in told


def test_a_faulty_file_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert eyas(capsys, f"collect {of('north')}")[0] == 0
    file = min(Path("exchange").glob("*.statistics.north.safetensors"))
    content = file.read_bytes()
    for spoilt, message in [
        (content[: len(content) // 2], "this is no message of a site"),
        (bytes(MAX_BYTES + 1), "has 16,777,217 bytes: a message has at most"),
    ]:
        file.write_bytes(spoilt)
        status, _, told = eyas(capsys, "merge exchange width4 width8")
        assert status == 2
        assert f"{file}" in told
        assert message in told
    file.write_bytes(content)
    copy = Path(shutil.copy(file, str(file).replace("north", "south")))
    status, _, told = eyas(capsys, "merge exchange width4 width8")
    assert status == 2
    assert f"{copy}: holds a message of north: a site counts once, in a file of its own name: let south collect" in told
    assert not list(Path("exchange").glob("*.merged.*"))  # nothing was merged


def test_a_site_with_a_faulty_message_is_left_out_of_every_network_if_that_is_asked(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {of(site)}")[0] == 0
    spoilt = min(Path("exchange").glob("*.statistics.south.safetensors"))
    spoilt.write_bytes(b"noise")
    status, _, told = eyas(capsys, "merge exchange width4 width8")
    assert status == 2
    assert f"{spoilt}: this is no message of a site" in told
    assert told.endswith("let south collect again, or go on without by --leave-out-faulty")
    status, lines, told = eyas(capsys, "merge exchange width4 width8 --leave-out-faulty")
    assert (status, lines) == (0, [f"width{width}: merged north (24 images)" for width in (4, 8)])
    assert f"south is left out, for every network: {spoilt}: this is no message of a site" in told
    for site in ("north", "south"):
        assert eyas(capsys, f"judge {of(site)}")[0] == 0
    assert eyas(capsys, "rank exchange width4 width8 --json")[0] == 0
    spoilt = max(Path("exchange").glob("*.losses.south.safetensors"))
    spoilt.write_bytes(b"noise")
    status, _, told = eyas(capsys, "rank exchange width4 width8")
    assert (status, str(spoilt) in told) == (2, True)
    status, lines, told = eyas(capsys, "rank exchange width4 width8 --leave-out-faulty --json")
    assert (status, {one["images"] for one in json.loads("\n".join(lines))}) == (0, {24})


@pytest.mark.parametrize("fault", ["images", "count", "mean", "size"])
def test_forged_numbers_are_refused_by_file_and_nothing_is_written(
    place: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {of(site)}")[0] == 0
    for again in ("east", "west"):  # four sites, so that most of them agree
        for file in Path("exchange").glob("*.statistics.north.*"):
            header, tensors = opened(file)
            write_message(Path(str(file).replace("north", again)), {**header, "site": again}, tensors)
    file = max(Path("exchange").glob("*.statistics.south.*"))
    header, tensors = opened(file)
    layer = min(tensors).rpartition(".")[0]
    if fault == "images":
        header["images"] = 2**53 - 1
    elif fault == "mean":
        tensors[f"{layer}.mean"] += 1e308
    else:
        tensors[f"{layer}.count"] = tensors[f"{layer}.count"] * (4 if fault == "size" else 2**40)
    write_message(file, header, tensors)
    status, lines, told = eyas(capsys, "merge exchange width4 width8")
    assert (status, lines) == (2, [])
    assert told.startswith(f"error: {file}: ")
    assert "\n" not in told
    assert not list(Path("exchange").glob("*.merged.*"))
    status, lines, told = eyas(capsys, "merge exchange width4 width8 --leave-out-faulty")
    assert status == 0
    assert lines == [f"width{w}: merged east (24 images), north (24 images), west (24 images)" for w in (4, 8)]
    assert f"south is left out, for every network: {file}: " in told


def test_nothing_is_merged_of_one_network_where_another_cannot_be(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two sites that disagree on the size of an image: neither is right by itself."""
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {of(site)}")[0] == 0
    file = max(Path("exchange").glob("*.statistics.south.*"))
    header, tensors = opened(file)
    layer = min(tensors).rpartition(".")[0]
    tensors[f"{layer}.count"] = tensors[f"{layer}.count"] * 4
    write_message(file, header, tensors)
    status, _, told = eyas(capsys, "merge exchange width4 width8")
    assert status == 2
    assert f"an image does not give as many values of {layer} at each site" in told
    assert not list(Path("exchange").glob("*.merged.*"))


def opened(file: Path) -> tuple[dict, dict]:
    """Header and tensors of a message."""
    message = SiteMessage.decode(file.read_bytes())
    return message.header.model_dump(), {name: tensor.clone() for name, tensor in message.tensors.items()}


def write_message(file: Path, header: dict, tensors: dict) -> None:
    file.write_bytes(safetensors.torch.save(tensors, {"eyas.site_message": json.dumps(header)}))


def test_a_site_that_collected_and_did_not_judge_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {of(site)}")[0] == 0
    assert eyas(capsys, "merge exchange width4 width8")[0] == 0
    assert eyas(capsys, f"judge {of('north')}")[0] == 0
    status, lines, told = eyas(capsys, "rank exchange width4 width8")
    assert (status, lines) == (2, [])
    assert told == (
        "error: south collected and did not judge: let south judge, or rank by the images of the others by "
        "--leave-out-silent"
    )
    status, lines, told = eyas(capsys, "rank exchange width4 width8 --leave-out-silent")
    assert (status, len(lines)) == (0, 2)
    assert told == "south collected and did not judge: the ranking is by the images of the others"


def test_a_site_that_judges_other_numbers_of_images_than_it_collected_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {of(site)}")[0] == 0
    assert eyas(capsys, "merge exchange width4 width8")[0] == 0
    for file in (place / "north/zero").glob("?.png"):
        file.unlink()
    for site in ("north", "south"):
        assert eyas(capsys, f"judge {of(site)}")[0] == 0
    status, lines, told = eyas(capsys, "rank exchange width4 width8")
    assert (status, len(lines)) == (0, 2)
    assert told == "north collected on 24 images and judged 14"


def test_layer_by_layer_the_same_sites_tell_every_layer(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = "exchange width4 --site {0} --images {0} --bundle bundle --exact"
    for site in ("north", "south"):
        assert eyas(capsys, f"collect {one.format(site)}")[0] == 0
    assert eyas(capsys, "merge exchange width4 --exact")[0] == 0
    assert eyas(capsys, f"collect {one.format('north')}")[0] == 0
    min(Path("exchange").glob("*.statistics.south.safetensors")).write_bytes(b"noise")
    status, _, told = eyas(capsys, "merge exchange width4 --exact --leave-out-faulty")
    assert status == 2
    assert "the layers before are merged of 36 images, this one of 24: the same sites must tell every layer" in told


def test_an_image_that_cannot_be_read_is_left_out_and_named(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken = place / "north/zero/3.png"
    broken.write_bytes(b"text")
    status, lines, _ = eyas(capsys, f"collect {of('north')}")
    assert (status, lines[0]) == (0, "width4: statistics of 7 layers on 23 images of north")
    assert f"1 of 24 images are left out: {broken.relative_to(place)} does not decode: not an image" in caplog.text
    assert eyas(capsys, "merge exchange width4 width8")[0] == 0
    status, lines, _ = eyas(capsys, f"judge {of('north')}")
    assert (status, lines[0].endswith("on 23 images of north")) == (0, True)
    for file in (place / "north").rglob("*.png"):
        file.write_bytes(b"text")
    status, _, told = eyas(capsys, f"collect {of('north')}")
    assert status == 2
    assert "none of the 24 images can be read; the first: " in told
