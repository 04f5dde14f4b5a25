import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from eyas.deploy.bundle.contents import BUNDLE
from eyas.deploy.bundle.golden_pairs import golden_pairs
from eyas.deploy.bundle.make_bundle import make_bundle
from eyas.deploy.bundle.preprocessing import PreprocessingRecord, preprocessing_of
from eyas.errors import ParityError
from eyas.storage.digests import file_sha256
from tests.support.colour_bundle import MEAN, STD, Made, colour_network, make_colours

FILES = {
    *("LICENSE", "README.md", "bn_statistics.safetensors", "classifier.py", "end_to_end.onnx", "golden/expected.json"),
    *("image_answers.py", "labels.json", "manifest.json", "model.onnx", "pixels.py", "predict.py"),
    "preprocessing.json",
    *(f"golden/{number}.png" for number in range(8)),
}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_bundle_holds_all_that_a_device_needs(made: Made, made_as_data: Made) -> None:
    assert names(made.folder) == FILES
    assert names(made_as_data.folder) == FILES - {"end_to_end.onnx"}
    assert json.loads((made.folder / "labels.json").read_text()) == ["blue", "green", "red"]
    told = PreprocessingRecord.model_validate_json((made_as_data.folder / "preprocessing.json").read_text())
    assert (told.model, told.in_graph, told.mode, told.resize, told.size) == ("model.onnx", False, "RGB", 20, 16)
    assert (told.mean, told.std) == (MEAN, STD)
    assert (made.folder / "model.onnx").read_bytes() == (made.export / "model.onnx").read_bytes()
    assert "CC0-1.0" in (made.folder / "LICENSE").read_text()
    listed = json.loads((made.folder / "manifest.json").read_text())["files"]
    assert listed.keys() == FILES - {"manifest.json"}
    assert all(facts["sha256"] == file_sha256(made.folder / name) for name, facts in listed.items())


def test_images_with_transparency_are_left_to_pillow(made: Made) -> None:
    image = made.dataset.manifest.image.model_copy(update={"channels": 4})
    dataset = replace(made.dataset, manifest=made.dataset.manifest.model_copy(update={"image": image}))
    record = preprocessing_of(dataset, in_graph=True)
    assert (record.mode, record.in_graph, record.model) == ("RGBA", False, "model.onnx")


def test_tar_holds_the_folder_and_nothing_of_this_machine(made: Made) -> None:
    with tarfile.open(made.export / "bundle.tar.gz") as tar:
        members = {member.name.removeprefix("bundle/"): member for member in tar}
        assert members.keys() == FILES
        for name, member in members.items():
            assert tar.extractfile(member).read() == (made.folder / name).read_bytes()
            assert (member.uid, member.gid, member.uname, member.mtime, member.mode) == (0, 0, "", 0, 0o644)


def test_equal_inputs_give_equal_bytes(made: Made, tmp_path: Path) -> None:
    again = make_colours(tmp_path)
    assert (again.export / "bundle.tar.gz").read_bytes() == (made.export / "bundle.tar.gz").read_bytes()


def test_no_file_tells_of_the_machine_that_made_it(made: Made) -> None:
    places = [
        str(made.export.parent),
        str(Path(__file__).parents[3]),
        str(Path.home()),
        "/home/someone",
        "site-packages",
    ]
    for name in names(made.folder):
        content = (made.folder / name).read_bytes()
        assert [place for place in places if len(place) > 5 and place.encode() in content] == [], name


def test_every_second_golden_image_has_another_size_than_it_is_stored_in(made: Made) -> None:
    pairs = golden_pairs(made.dataset, colour_network())
    stored = made.dataset.split("test").upright(4)
    assert all((image == kept).all() for image, kept in zip(pairs.images[::2], stored, strict=False))
    assert all(other.shape != kept.shape for other, kept in zip(pairs.images[1::2], stored, strict=False))


@pytest.mark.parametrize("in_graph", [True, False])
def test_a_bundle_that_answers_otherwise_is_not_made(made: Made, tmp_path: Path, in_graph: bool) -> None:
    network = nn.Sequential(*colour_network())
    with torch.no_grad():
        network[3].bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # not the one that was exported
    (tmp_path / BUNDLE).mkdir()
    options = {"in_graph": in_graph, "licence": "", "card": str}
    with pytest.raises(ParityError, match=r"onnx of the bundle answers otherwise than PyTorch to 60 test images"):
        make_bundle(made.export, tmp_path / BUNDLE, made.dataset, network, **options)
    assert not (tmp_path / "bundle.tar.gz").exists()
