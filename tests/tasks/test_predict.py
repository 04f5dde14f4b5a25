"""Classes of image files by a registered version or the last run: as the bundle answers, each bad file in a line."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.data import open_dataset
from eyas.deploy.bundle.classifier import Classifier
from eyas.errors import BadInputError, ChecksumError
from eyas.operations.tracking.model_registry import set_alias
from tasks.given_places import path_from_here
from tasks.predict import Prediction, Predictions, chosen_as, list_images, predict
from tasks.prediction_table import as_dict, prediction_lines, unreadable_lines
from tasks.tracking_store import open_store
from tests.tasks.registering import Setting, enter


@pytest.fixture
def photos(tmp_path: Path, root: Path) -> Path:
    """Two test images, one of them in a folder below, and files that are none."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    images_NCHW = open_dataset(root / "artifacts/fetch").split("test").images()[:2].numpy()
    for name, image_CHW in zip(("first.png", "below/second.png"), images_NCHW, strict=True):
        Image.fromarray(image_CHW[0]).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("none")
    return folder


def test_a_version_answers_as_its_bundle_does_and_names_what_it_cannot_read(
    setting: Setting, root: Path, photos: Path
) -> None:
    workspace = setting()
    number = enter(workspace).number
    classifier = Classifier(root / "artifacts/export/bundle", threads=1)
    expected = classifier(classifier.read(photos / "below/second.png"))
    answers = predict(workspace, [photos, photos / "gone.png"])
    name, budget, worth = answers.network.split(", ")
    assert name == f"{workspace.params.register_.model} version {number}"
    assert budget == "macs=0.5"
    assert worth.startswith("test accuracy ")
    assert [one.file for one in answers.images] == [photos / "below/second.png", photos / "first.png"]
    told = answers.images[0].probabilities
    assert [told[name] for name in classifier.labels] == pytest.approx(expected.tolist())
    assert list(told.values()) == sorted(told.values(), reverse=True)
    assert answers.unreadable == {
        photos / "broken.png": "not an image",
        photos / "gone.png": "there is no such file",
    }
    assert next(prediction_lines(answers, 1)).endswith(" (the candidate: there is no champion)")
    assert chosen_as(workspace, "candidate") == "the candidate"
    assert chosen_as(workspace, number) == ""
    set_alias(open_store(workspace), workspace.params.register_.model, "champion", number)
    assert chosen_as(workspace, None) == "the champion"
    for asked in ("candidate", number):
        assert predict(workspace, [photos / "first.png"], asked).images == answers.images[1:]


def test_without_a_bundle_the_onnx_file_answers_the_same(setting: Setting, photos: Path, tmp_path: Path) -> None:
    workspace = setting()
    files = [photos / "first.png"]
    (with_bundle,) = predict(workspace, files, "run").images
    folder = shutil.copytree(workspace.folder, tmp_path / "copy")
    shutil.rmtree(folder / "artifacts/export/bundle")
    manifest = folder / "artifacts/export/manifest.json"
    manifest.write_text(_without_bundle(manifest.read_text()))
    copy = type(workspace)(folder, folder, "copy", workspace.params)
    answers = predict(copy, files, "run")
    assert answers.network == "the last run of copy"
    assert answers.images[0].probabilities == pytest.approx(with_bundle.probabilities, abs=1e-5)


def _without_bundle(manifest: str) -> str:
    import json

    content = json.loads(manifest)
    content["files"] = {name: facts for name, facts in content["files"].items() if not name.startswith("bundle/")}
    return json.dumps(content)


def test_which_version_is_wrong_is_said_with_what_there_is(setting: Setting, photos: Path) -> None:
    workspace = setting()
    last = predict(workspace, [photos / "first.png"])
    assert (last.network, last.chosen_as) == ("the last run of default", "no version is registered")
    with pytest.raises(BadInputError, match="give a number, champion, candidate, previous, or run"):
        predict(workspace, [photos], "best")
    with pytest.raises(BadInputError, match="has no champion; registered versions: none"):
        predict(workspace, [photos], "champion")
    with pytest.raises(BadInputError, match="has no version 7"):
        predict(workspace, [photos], "7")


def test_an_export_that_was_changed_does_not_answer(setting: Setting, photos: Path, tmp_path: Path) -> None:
    workspace = setting()
    folder = shutil.copytree(workspace.folder, tmp_path / "copy")
    (folder / "artifacts/export/model.onnx").write_bytes(b"other")
    with pytest.raises(ChecksumError, match=r"model\.onnx"):
        predict(type(workspace)(folder, folder, "copy", workspace.params), [photos], "run")


def test_a_profile_that_never_ran_says_what_to_type(setting: Setting, photos: Path, tmp_path: Path) -> None:
    workspace = setting()
    empty = type(workspace)(tmp_path, tmp_path, "mine", workspace.params, arguments=("--params", "mine.yaml"))
    with pytest.raises(BadInputError, match="`eyas run --params mine.yaml` makes both"):
        predict(empty, [photos])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(BadInputError, match="holds no image"):
        list_images([tmp_path])


def test_lines_and_json_say_the_same(setting: Setting, photos: Path) -> None:
    answers = predict(setting(), [photos], "run")
    *lines, summary = prediction_lines(answers, top=2)
    assert lines[0] == "by the last run of default"
    assert lines[1].split() == ["image", "class", "probability", "then"]
    content = as_dict(answers)
    for line, image in zip(lines[2:], content["images"], strict=True):
        (first, share), (second, _), *_ = image["probabilities"].items()
        assert image["class"] == first
        words = line.split()
        assert words[:4] == [path_from_here(Path(image["file"])), first, f"{100 * share:.1f}", "%"]
        assert words[4] == second
        assert len(words) == 7
    counted = Counter(image["class"] for image in content["images"])
    assert summary == f"2 images: {', '.join(f'{number} {name}' for name, number in counted.items())}"
    told = [f"error: {path_from_here(photos / 'broken.png')}: not an image"]
    assert list(unreadable_lines(answers)) == told
    assert np.isclose(sum(content["images"][0]["probabilities"].values()), 1, atol=1e-5)


def test_what_is_likely_beside_stands_there_where_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/somewhere/here")
    files = [Path("/somewhere/photos") / name for name in ("1.png", "2.png", "3.png")]
    images = [Prediction(file, {"horse": 0.75, "a dog": 0.25}) for file in files[:2]]
    answers = Predictions("it", (*images, Prediction(files[2], {"cat": 1.0})), {})
    wide, narrow = (list(prediction_lines(answers, 2, width)) for width in (49, 48))
    assert wide[2] == "../photos/1.png  horse       75.0 %  a dog 25.0 %"
    assert narrow[1:3] == ["image            class  probability", "../photos/1.png  horse       75.0 %"]
    assert wide[-1] == narrow[-1] == "3 images: 2 horse, 1 cat"
    assert max(map(len, wide)) == 49
    assert list(prediction_lines(answers, 1)) == narrow
    assert not list(prediction_lines(Predictions("it", (), {files[0]: "not an image"}), 2))


def test_a_path_is_told_as_it_is_typed_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PWD", "/home/me/project")
    typed = [
        path_from_here(Path(place)) for place in ("/home/me/project/a/1.png", "/home/me/camera/1.png", "/mnt/1.png")
    ]
    assert typed == ["a/1.png", "../camera/1.png", "/mnt/1.png"]


def test_a_warning_comes_before_the_answers_and_errors_after(capfd: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys; sys.stderr = sys.stdout; from pathlib import Path; from tasks.prediction_table import *\n"
        "one = Prediction(Path('/1.png'), {'cat': 1.0})\n"
        "print_predictions(Predictions('it', (one,), {Path('/2.png'): 'not an image'}, 'warning: w'), 1, as_json=False)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    told = capfd.readouterr().out.splitlines()
    table = ["by it", "image   class  probability", "/1.png  cat        100.0 %"]
    assert told == ["warning: w", *table, "error: /2.png: not an image"]
