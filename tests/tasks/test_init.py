"""``eyas init``: what is seen of images and weights, what is asked, and a file that a run would start with."""

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import eyas
import models
from eyas.cli import init_command
from eyas.config import FetchParams, load_params
from eyas.errors import BadInputError, EyasError, ParameterError
from eyas.networks.architectures import Architecture
from eyas.operations.few_images import too_few_to_compare
from eyas.pruning.inspection import smallest
from eyas.pruning.widths import usual_steps
from tasks import init as module
from tasks.defined_networks import defined_as
from tasks.fitting_architecture import fitting_architectures, require_known, spelt_out
from tasks.images_look import ImagesLook, look_at_images
from tasks.init import Init
from tasks.init_answers import InitAnswers, ask_for_test, budget_limits, image_side
from tasks.init_places import look_at_places
from tasks.network_look import KNOWN, Reading, describe
from tasks.preflight import Preflight

CLASSES = ("cat", "dog")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with a folder of images per class and a network's weights."""
    root = tmp_path / "project"
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (root / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels_HWC = generator.integers(0, 256, (20, 16 + number % 3, 3), dtype=np.uint8)
            Image.fromarray(pixels_HWC).save(root / "photos" / name / f"{number}.png")
    torch.manual_seed(0)
    torch.save({"state_dict": models.build("resnet8", 2, width=4).state_dict()}, root / "weights.pt")
    (root / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "empty").mkdir()
    return root


@pytest.fixture
def heard() -> list[str]:
    """What was said."""
    return []


@pytest.fixture
def quick_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look before a run has tests of its own."""
    monkeypatch.setattr(module, "look_closely", lambda *_: Preflight("mine", ()))


def answered(**said: Any) -> InitAnswers:
    usual = {"images": "photos", "checkpoint": "weights.pt", "test": "from_train", "image_size": 16}
    return InitAnswers(**{**usual, **said})


def test_images_and_weights_make_a_file_that_a_run_would_start_with(project: Path, heard: list[str]) -> None:
    out = Init(
        project, project / "photos", answered(images=".", checkpoint="../weights.pt"), None, heard.append
    ).write()
    assert out == project / "photos/mine.yaml"
    params = load_params(out)
    assert (params.fetch.train, params.fetch.test, params.fetch.image_size) == ("photos", "from_train", 16)
    assert (params.baseline.architecture, params.baseline.arguments) == ("resnet8", {"width": 4})
    assert params.baseline.checkpoint == "weights.pt"
    assert params.sample.budget.limits == {"macs": 0.5}
    assert params.register_.model == "mine"
    assert all("#" in line for line in out.read_text().splitlines() if "architecture" in line or "train:" in line)
    assert heard[0] == "images    60 images (folder) of 2 classes (30 each), 16 x 20 to 18 x 20, colour"
    assert heard[1] == "network   the weights fit resnet8 exactly, 2 classes"
    reading = r"reading   16 x 16, mean and std .*, the best of 5: .*; then .* [\d.]+ %, [\d.]+ points behind"
    assert re.fullmatch(reading, heard[2])
    assert params.fetch.calibration_fraction == 0.25
    assert params.score.scorer is not None
    assert params.score.scorer.kind == "cross_entropy"
    few = [line for line in heard if "calibrat" in line or "judge" in line]
    assert few[0].startswith("few       fetch.calibration_fraction: 0.25, for about 15 images calibrate then")
    assert few[1].startswith("          score.scorer: cross_entropy, for about 9 images judge the candidates")
    compared = "          the score split gets about 9 images, and eyas watch and eyas adapt compare others with"
    assert [line for line in heard if line.startswith(compared) and "give 834 images or more" in line]


def test_the_score_split_is_made_wide_enough_for_watch_where_images_allow(
    project: Path, heard: list[str], quick_check: None
) -> None:
    for name in CLASSES:
        for number in range(30, 300):
            shutil.copy(project / "photos" / name / f"{number % 30}.png", project / "photos" / name / f"{number}.png")
    out = Init(project, project, answered(), None, heard.append).write()
    params, text = load_params(out), out.read_text()
    assert params.fetch.score_fraction == 0.21  # 600 images: 126
    (line,) = (line for line in text.splitlines() if "score_fraction" in line)
    assert "# about 126 images judge then: eyas watch and adapt need 100 to compare with" in line
    assert not too_few_to_compare(600, params.fetch.score_fraction), "no warning is left for --check"
    assert not [line for line in heard if "--reference" in line]
    assert [line for line in heard if "each image's own hash says which split it is in" in line]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"images": "gone"}, "--images: gone: there is no such file or folder"),
        ({"checkpoint": "gone.pt"}, "--checkpoint: gone.pt: there is no such file or folder"),
        ({"test": "gone/test"}, "--test: gone/test: there is no such file or folder"),
        ({"out": "net.txt"}, "--out: net.txt is no name of a parameter file: let it end in .yaml"),
    ],
)
def test_places_alone_are_looked_at_before_anything_is_imported(
    tmp_path: Path, said: dict[str, Any], message: str
) -> None:
    usual = {"images": "https://host/x", "checkpoint": "$WEIGHTS", "test": "from_train", "out": None, "force": False}
    look_at_places(tmp_path, usual)
    look_at_places(tmp_path, usual | dict.fromkeys(("images", "checkpoint", "test")))  # left out
    with pytest.raises(BadInputError, match=re.escape(message)):
        look_at_places(tmp_path, usual | said)


@pytest.mark.parametrize(
    ("right", "other", "images", "close"), [(0.9, 0.5, 100, False), (0.9, 0.88, 100, True), (1.0, 1.0, 60, True)]
)
def test_two_normalisations_are_close_where_images_cannot_tell_them_apart(
    right: float, other: float, images: int, close: bool
) -> None:
    reading = Reading(Architecture("resnet8", {}), KNOWN[0], right, 0.1, images, 5, KNOWN[1].name, other)
    assert reading.is_close is close
    assert reading.margin == pytest.approx(100 * (right - other))


def test_a_file_that_is_there_stays_unless_it_is_forced(project: Path, heard: list[str], quick_check: None) -> None:
    (project / "mine.yaml").write_text("mine: true\n")
    with pytest.raises(BadInputError, match="--out: mine.yaml is there already: choose another name, or give --force"):
        Init(project, project, answered(out="mine.yaml"), None, heard.append).write()
    assert (project / "mine.yaml").read_text() == "mine: true\n"
    Init(project, project, answered(out="mine.yaml", force=True), None, heard.append).write()
    assert "fetch" in yaml.safe_load((project / "mine.yaml").read_text())


def test_what_would_stop_a_run_is_told_and_nothing_is_written(
    project: Path, heard: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "look_closely", lambda *_: Preflight("mine", ("sample.budget: out of reach",)))
    with pytest.raises(BadInputError, match="would stop:\n  sample.budget: out of reach"):
        Init(project, project, answered(out="new.yaml"), None, heard.append).write()
    assert not (project / "new.yaml").exists()
    (project / "old.yaml").write_text("old: true\n")
    with pytest.raises(BadInputError):
        Init(project, project, answered(out="old.yaml", force=True), None, heard.append).write()
    assert (project / "old.yaml").read_text() == "old: true\n"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"images": None}, "--images is needed where nobody can be asked"),
        ({"images": "gone"}, "--images: gone: there is no such file or folder"),
        (
            {"images": "../empty"},
            r"^--images: no known format in \.\./empty \(no file at all\).* one with fetch.format$",
        ),
        ({"checkpoint": "dvc.yaml"}, "--checkpoint: checkpoint .* cannot be read as weights"),
        ({"test": None}, "--unseen if they have seen none, or --test from_train"),
        ({"test": "gone"}, "--test: gone: there is no such file or folder"),
        ({"budget": ["mac"]}, "--budget: mac: give NAME=NUMBER, such as macs=0.5; names are macs, params"),
        (
            {"budget": ["mac=0.5"]},
            r"mac=0.5: no limit is called 'mac' \(did you mean 'macs'\?\); names are macs, params",
        ),
        ({"budget": ["macs=50%"]}, "--budget: macs=50%: no number: for 50 % give 0.5$"),
        ({"budget": ["latency_ms=4"]}, "needs --latency-profile FILE"),
        ({"architecture": "resnet9"}, r"--architecture: 'resnet9' is not in models/ .*torchvision/NAME or timm/NAME"),
        ({"architecture": "resnet20"}, "--architecture: checkpoint .*weights.pt"),
        ({"out": "mine.txt"}, "--out: mine.txt is no name of a parameter file: let it end in .yaml"),
        ({"out": "gone/mine.yaml"}, "there is no folder"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_answer_names_its_option_and_what_to_do(
    project: Path, heard: list[str], quick_check: None, said: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        Init(project, project, answered(**said), None, heard.append).write()
    assert not list(project.glob("*.yaml"))[1:]


def test_weights_for_other_classes_are_refused_with_both_numbers(
    project: Path, heard: list[str], quick_check: None
) -> None:
    torch.save(models.build("resnet8", 5).state_dict(), project / "weights.pt")
    with pytest.raises(BadInputError, match=r"tells 5 classes apart, the images have 2 \(cat, dog\)"):
        Init(project, project, answered(), None, heard.append).write()


def test_a_named_network_takes_the_channels_of_its_weights(project: Path, heard: list[str], quick_check: None) -> None:
    torch.save(models.build("resnet8", 2, width=4, in_channels=1).state_dict(), project / "weights.pt")
    said = answered(architecture="resnet8", arguments={"width": 4})
    params = load_params(Init(project, project, said, None, heard.append).write())
    assert params.baseline.arguments == {"in_channels": 1, "width": 4}
    assert len(params.fetch.mean) == 1


def test_a_person_is_asked_until_the_answer_can_be_used(project: Path, heard: list[str], quick_check: None) -> None:
    replies = iter(
        ["mine.txt", "mine.yaml", "nowhere", "photos", "weights.pt", "4", "2", "0", "24", "macs=2%", "macs=0.4"]
    )
    wrong: list[str] = []

    def ask(question: str, check: Callable[[str], Any], default: str | None = None) -> Any:
        while True:
            try:
                return check(next(replies))
            except EyasError as error:
                wrong.append(str(error))

    params = load_params(Init(project, project, InitAnswers(), ask, heard.append).write())
    assert not list(replies)
    assert len(wrong) == 5
    told = [line for line in heard if re.match(r" {10}\d  ", line)]
    assert [line.split()[0] for line in told] == ["1", "2", "3"]
    assert "(--unseen)" in told[1]
    assert [line for line in told if line.endswith("usual")] == told[:1]
    assert (params.fetch.test, params.baseline.seen_by_checkpoint) == (None, False)
    assert (params.fetch.image_size, params.sample.budget.limits) == (24, {"macs": 0.4})


def test_without_weights_a_network_is_proposed_and_trained_here(
    project: Path, heard: list[str], quick_check: None
) -> None:
    said = answered(checkpoint=None, test=None)
    params = load_params(Init(project, project, said, None, heard.append).write())
    assert (params.baseline.architecture, params.baseline.checkpoint, params.fetch.test) == ("resnet20", None, None)
    assert len(params.fetch.mean) == 3
    assert params.fetch.mean != FetchParams().mean, "of these images"


def test_what_is_not_on_this_machine_is_written_as_it_was_said(
    project: Path, heard: list[str], quick_check: None
) -> None:
    said = answered(images="s3://bucket/train", test="s3://bucket/test", architecture="resnet8", arguments={"width": 4})
    params = load_params(Init(project, project, said, None, heard.append).write())
    assert (params.fetch.train, params.fetch.test) == ("s3://bucket/train", "s3://bucket/test")
    assert heard[0] == "images    not on this machine: looked at when a run brings it"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet8", {"width": 8, "in_channels": 1}),
        ("resnet18", {}),
        ("mobilenet_v2", {"width_mult": 0.5}),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_weights_tell_their_architecture(name: str, arguments: dict[str, Any], prefix: str) -> None:
    with torch.device("meta"):
        state = models.build(name, 7, **arguments).state_dict()
    fitting = fitting_architectures({prefix + key: value for key, value in state.items()})
    assert Architecture(name, arguments) in fitting
    with torch.device("meta"):
        expected = {key: value.shape for key, value in state.items()}
        for one in fitting:
            built = models.build(one.factory, 7, **one.arguments).state_dict()
            assert {key: value.shape for key, value in built.items()} == expected


def test_foreign_weights_fit_no_architecture() -> None:
    assert fitting_architectures(torch.nn.Conv2d(3, 8, 3).state_dict()) == []


def test_short_names_are_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "timm" else object())
    with pytest.raises(ParameterError, match="timm/resnet18: timm is not installed: pip install timm"):
        spelt_out("timm/resnet18", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert spelt_out("torchvision/resnet18", {}) == Architecture("torchvision.models:resnet18", {})
    assert spelt_out("timm/resnet18", {"x": 1}) == Architecture("timm:create_model", {"model_name": "resnet18", "x": 1})
    assert spelt_out("mine:build", {}) == Architecture("mine:build", {})


def test_a_damaged_image_does_not_end_the_look(project: Path) -> None:
    (project / "photos/cat/0.png").write_bytes(b"none")
    look = look_at_images("photos", project)
    assert (look.classes, look.counts, look.grey, look.brings_test) == (CLASSES, (30, 30), False, False)
    assert len(look.sizes) == 59


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        ([(28, 28)] * 3, 28),
        ([(100, 80), (70, 90), (640, 480)], 64),
        ([(4000, 3000)], 224),
        ([], 224),
        ([(20, 9)] * 2, 9),
    ],
)
def test_a_side_is_proposed_from_the_sizes(sizes: list[tuple[int, int]], side: int) -> None:
    assert ImagesLook("x", sizes=tuple(sizes)).image_size == side


def test_budgets_and_sides_are_numbers() -> None:
    assert budget_limits("macs=0.5, latency_ms=4") == {"macs": 0.5, "latency_ms": 4.0}
    for text in ("macs", "macs=half", "macs=1", "macs=-1"):
        with pytest.raises(ParameterError):
            budget_limits(text)
    with pytest.raises(ParameterError, match="0 is no side of an image"):
        image_side("0")


def test_files_that_are_left_out_are_told_once_in_a_line(
    project: Path, heard: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    (project / "photos/note.txt").write_text("notes")
    Init(project, project, answered(), None, heard.append).write()
    assert [line.strip() for line in heard if "left out" in line] == ["1 file is left out: 1 .txt"]
    assert "left out" not in caplog.text


def test_a_broken_image_is_named_as_its_place_was_given(project: Path, heard: list[str]) -> None:
    (project / "photos/dog/broken.png").write_text("no image")
    with pytest.raises(
        BadInputError, match=r"1 image is broken, photos/dog/broken\.png does not .* repair or remove it"
    ):
        Init(project, project, answered(), None, heard.append).write()


def test_the_side_is_asked_only_where_images_differ(project: Path, heard: list[str], quick_check: None) -> None:
    asked: list[str] = []

    def ask(question: str, check: Callable[[str], Any], default: str | None = None) -> Any:
        asked.append(question)
        return check(default or "")

    said = {"out": "mine.yaml", "budget": ("macs=0.5",), "force": True}
    Init(project, project, answered(image_size=None, **said), ask, heard.append).write()
    assert asked == ["Side of the images that the network sees"]
    for file in project.glob("photos/*/*.png"):
        with Image.open(file) as image:
            image.resize((24, 24)).save(file)
    out = Init(project, project, answered(image_size=None, **said), ask, heard.append).write()
    assert asked == ["Side of the images that the network sees"]
    assert load_params(out).fetch.image_size == 24


@pytest.mark.parametrize(
    ("replies", "test", "unseen"),
    [
        (["1", "gone", "more"], "more", None),
        (["more"], "more", None),
        (["2"], None, False),
        (["unseen"], None, False),
        (["3"], "from_train", None),
    ],
)
def test_which_images_test_is_a_choice_of_three(
    project: Path, heard: list[str], quick_check: None, replies: list[str], test: str | None, unseen: bool | None
) -> None:
    shutil.copytree(project / "photos", project / "more")
    left = iter(replies)

    def ask(question: str, check: Callable[[str], Any], default: str | None = None) -> Any:
        while True:
            try:
                return check(next(left))
            except EyasError:
                continue

    said = answered(test=None, out="mine.yaml", budget=("macs=0.5",))
    params = load_params(Init(project, project, said, ask, heard.append).write())
    assert not list(left)
    assert (params.fetch.test, params.baseline.seen_by_checkpoint) == (test, unseen)


def test_a_number_that_is_no_choice_is_told_the_choices() -> None:
    told: list[str] = []

    def ask(question: str, check: Callable[[str], Any], default: str | None = None) -> Any:
        for reply in ("7", "0", "-1"):
            with pytest.raises(ParameterError) as caught:
                check(reply)
            told.append(str(caught.value))
        return check("2")

    assert ask_for_test(ask, lambda _: None, lambda _: pytest.fail("a number is no place")) == (None, True)
    assert told == [f"{n} is none of them: give 1, 2 or 3, or where the test images are" for n in ("7", "0", "-1")]


def test_a_class_beside_the_weights_is_offered_and_not_imported(
    project: Path, tmp_path: Path, heard: list[str], quick_check: None
) -> None:
    code = tmp_path / "code of mine"
    (code / "inner").mkdir(parents=True)
    (code / "inner/__init__.py").touch()
    (code / "inner/nets.py").write_text("raise SystemExit\nclass SortNet(object):\n    pass\n")
    (code / "other.py").write_text("class SortNetwork: pass\n# class SortNet\n")
    torch.save(torch.nn.Linear(3, 2).state_dict(), code / "weights.pt")
    said = answered(checkpoint=str(code / "weights.pt"), architecture="SortNet")
    with pytest.raises(BadInputError) as caught:
        Init(project, project, said, None, heard.append).write()
    assert str(caught.value) == (
        f"--architecture: 'SortNet' is not in models/: give inner.nets:SortNet, which is in {code}; "
        f"start eyas as PYTHONPATH='{code}' eyas ..."
    )


def test_where_a_module_lies_is_told_if_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net_of_this_test.py").write_text("def build(): ...\n")
    name, folders = "net_of_this_test:build", [tmp_path, tmp_path / "gone"]
    with pytest.raises(
        ParameterError, match=rf"is in {tmp_path}, which is not on PYTHONPATH; start eyas as PYTHONPATH="
    ):
        require_known(name, folders)
    with pytest.raises(
        ParameterError, match=r"no package 'net_of_this_test' on PYTHONPATH: .* as PYTHONPATH=FOLDER eyas"
    ):
        require_known(name, [])
    monkeypatch.syspath_prepend(tmp_path)
    require_known(name, folders)
    with pytest.raises(ParameterError, match=rf"give net_of_this_test:build, which is in {tmp_path}$"):
        require_known("build", folders)
    require_known("resnet8", folders)
    assert defined_as("no name", folders) == []


def test_what_is_wrong_stands_on_lines_of_its_own_and_wraps(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = iter(["half", "macs=0.5"])
    monkeypatch.setattr(init_command.typer, "prompt", lambda text, **_: sys.stdout.write(text) and next(replies))
    monkeypatch.setattr("eyas.cli.terminal.terminal_width", lambda **_: 40)
    assert init_command._ask("Budget", budget_limits) == {"macs": 0.5}
    first, *wrong, _ = capsys.readouterr().out.splitlines()
    assert first == "Budget"
    assert len(wrong) > 1
    assert all(line.startswith("  ") and len(line) <= 40 for line in wrong)
    assert " ".join(" ".join(wrong).split()).startswith("half: give NAME=NUMBER, such as macs=0.5; names are")


@pytest.mark.parametrize(("width", "multiples"), [(2, ""), (8, "4 and 8"), (32, "8")])
def test_what_can_be_pruned_is_told_in_the_multiples_of_a_run(width: int, multiples: str) -> None:
    architecture, network = Architecture("resnet8", {"width": width}), models.build("resnet8", 2, width=width)
    told = describe(architecture, network, (3, 16, 16), 2)
    assert told.endswith(f"(widths in multiples of {multiples})" if multiples else "of the MACs")
    least = float(re.search(r"down to ([\d.]+) % of the MACs", told)[1])
    space = eyas.trace(network, (torch.zeros(2, 3, 16, 16),))
    space = space.rounded(usual_steps(space.groups))
    assert least == pytest.approx(100 * smallest(space).macs / space.cost().macs, abs=0.05)
