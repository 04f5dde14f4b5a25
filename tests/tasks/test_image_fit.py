"""Images of another kind than the network's are warned of in one line, with the profiles whose networks take them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tasks.image_fit import image_warning
from tasks.predict import predict
from tasks.prediction_table import unreadable_lines
from tests.tasks.registering import Setting, enter


@pytest.fixture
def workspace(setting: Setting, tmp_path: Path):
    """A profile without images whose network takes 8 x 8 grey ones, beside one that takes 48 x 48 in colour."""
    made = replace(setting(), root=tmp_path, folder=tmp_path)
    write_manifest(tmp_path, (1, 8, 8))
    mine = tmp_path / "workspaces/mine"
    write_manifest(mine, (3, 48, 48))
    (mine / "origin.json").write_text(json.dumps({"command": "eyas run --params mine.yaml"}))
    return made


def write_manifest(folder: Path, shape: tuple[int, int, int], resize: int | None = None) -> None:
    (folder / "artifacts/export").mkdir(parents=True, exist_ok=True)
    content = {"input": {"shape": shape, "resize": resize}}
    (folder / "artifacts/export/manifest.json").write_text(json.dumps(content))


def picture(folder: Path, mode: str, size: tuple[int, int]) -> Path:
    path = folder / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    (image.convert("L").convert(mode) if mode != "colour" else image).save(path)
    return path


def warn(workspace, file: Path) -> str:
    return image_warning(workspace, "the network", workspace.artifacts / "export", [file])


def test_a_colour_photograph_for_a_network_of_small_grey_images(
    workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    told = warn(workspace, picture(tmp_path, "colour", (48, 48)))
    assert told == (
        "warning: photo.png is 48 x 48 in colour, the network takes 8 x 8 in grey: its answers may mean little; "
        "for such images give --params mine.yaml"
    )


@pytest.mark.parametrize(
    ("mode", "size", "told"),
    [
        ("L", (8, 8), ""),
        ("L", (15, 15), ""),
        ("L", (16, 16), "is 16 x 16,"),
        ("L", (4, 4), "is 4 x 4,"),
        ("L", (8, 10), "is 8 x 10,"),
        ("colour", (8, 8), "is 8 x 8 in colour,"),
        ("RGB", (8, 8), ""),  # grey in three channels
    ],
)
def test_what_is_another_kind(workspace, tmp_path: Path, mode: str, size: tuple[int, int], told: str) -> None:
    warning = warn(workspace, picture(tmp_path, mode, size))
    assert told in warning
    assert bool(warning) is bool(told)


def test_where_images_are_cropped_photographs_may_be_larger_and_of_any_aspect(workspace, tmp_path: Path) -> None:
    write_manifest(tmp_path, (3, 24, 24), resize=32)
    assert not warn(workspace, picture(tmp_path, "colour", (640, 480)))
    assert "is 16 x 40," in warn(workspace, picture(tmp_path, "colour", (16, 40)))
    (tmp_path / "photo.png").write_bytes(b"broken")
    assert not warn(workspace, tmp_path / "photo.png")  # which has a line of its own


def test_sizes_of_the_training_images_are_known_whichever_profile_has_them(
    workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = tmp_path / "artifacts/export/manifest.json"
    exported.write_text(json.dumps(json.loads(exported.read_text()) | {"dataset": "d"}))
    photo = picture(tmp_path, "L", (48, 48))
    train = SimpleNamespace(upright=lambda _: [np.zeros((48, 48, 1), np.uint8)])
    monkeypatch.setattr("tasks.image_fit.open_dataset", lambda _: SimpleNamespace(digest="d", split=lambda _: train))
    assert "is 48 x 48" in warn(workspace, photo)
    fetched = tmp_path / "workspaces/mine/artifacts/fetch"
    fetched.mkdir()
    (fetched / "manifest.json").write_text("{}")
    assert not warn(workspace, photo)


def test_the_answers_carry_the_warning(setting: Setting, tmp_path: Path) -> None:
    answers = predict(setting(), [picture(tmp_path, "colour", (48, 48))], "run")
    assert "is 48 x 48 in colour, the last run of default takes 8 x 8 in grey" in answers.warning
    assert len(answers.images) == 1
    assert not list(unreadable_lines(answers))
    assert not predict(setting(), [picture(tmp_path, "L", (8, 8))], "run").warning


def test_the_parameter_file_alone_is_offered_where_its_model_has_a_version(
    setting: Setting, workspace, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", str(tmp_path))
    made = setting()
    section = {"register": {"model": made.params.register_.model}}
    section |= {"runtime": {"tracking_uri": made.params.runtime.tracking_uri}}
    (tmp_path / "params.yaml").write_text("{}")
    (tmp_path / "dvc.yaml").write_text("stages: {}")
    (tmp_path / "mine.yaml").write_text(json.dumps(section))
    quarter = tmp_path / "workspaces/mine+sample.budget.macs=0.25"
    (tmp_path / "workspaces/mine").rename(quarter)
    (quarter / "params.yaml").write_text(json.dumps(section))
    half = shutil.copytree(quarter, tmp_path / "workspaces/mine+sample.budget.macs=0.5")
    for folder, macs in ((quarter, 0.25), (half, 0.5)):
        origin = {"params_file": "mine.yaml", "command": f"eyas run --params mine.yaml --set sample.budget.macs={macs}"}
        (folder / "origin.json").write_text(json.dumps(origin))
    file = picture(tmp_path, "colour", (48, 48))
    asked = "give --params mine.yaml --set sample.budget.macs=0.25 or --params mine.yaml --set sample.budget.macs=0.5"
    assert warn(workspace, file).endswith(asked), "nothing is registered"
    enter(made)
    assert warn(workspace, file).endswith("for such images give --params mine.yaml")
    (half / "params.yaml").write_text(json.dumps(section | {"register": {"model": "another"}}))
    both = "give --params mine.yaml or --params mine.yaml --set sample.budget.macs=0.5"
    assert warn(workspace, file).endswith(both), "a profile of another model has no version there"
