"""``adapt.py`` as a user of the device calls it, and ``eyas verify --statistics``."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file, save_file
from torch import nn

from eyas.adaptation.drift.expected_help import FEWEST_IMAGES
from eyas.adaptation.revert_rule import CHANCE, judge
from eyas.adaptation.rule_limits import RevertRule
from eyas.calibration import Calibrator
from eyas.cli.app import run
from eyas.data.pixels import network_input
from eyas.deploy.bn_statistics import write_statistics
from eyas.deploy.bundle import label_free_rule
from eyas.deploy.bundle.adaptable_network import write_adaptable
from eyas.deploy.bundle.adapted_classifier import AdaptedClassifier, read_tensors, write_tensors
from eyas.deploy.bundle.classifier import Classifier
from eyas.deploy.bundle.contents import check_contents, write_list
from eyas.deploy.bundle.device_images import different_images, held_out
from eyas.deploy.bundle.label_free_rule import LIMITS, RULE, TOLD, read_rule, reasons, summarised, write_rule
from eyas.deploy.bundle.mask_pictures import picture_of
from eyas.deploy.bundle.verification import verify_bundle
from eyas.deploy.exporters.onnx import Onnx
from eyas.errors import DataError
from tests.support.colour_bundle import CLEAN, SIZE, Made, colour_network, photograph

PHOTOS = 70
UNEVEN = {"field.classes": np.array([[30, 20, 20], [35, 23, 12]])}
"""Of which nothing excuses answers that were sure: classes are 0.17 from equally many."""
REASONS = ("images", "one class", "collapse", "entropy", "agreement", "sure answers", "classes", "statistics")


@pytest.fixture
def bundle(made_adaptable: Made, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made_adaptable.folder, tmp_path / "bundle"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Dim photographs, a file that is none, and a hidden one."""
    folder = tmp_path / "photos" / "inner"
    folder.mkdir(parents=True)
    for number in range(PHOTOS):
        image = photograph(("red", "green", "blue")[number % 3], (20 + number, 30), number)
        image.point(lambda value: value * 0.6).save(folder / f"{number:02}.png")
    (folder / "torn.jpg").write_bytes(b"no image")
    (folder / ".hidden.png").write_bytes(b"no image")
    return folder.parent


def program(bundle: Path, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / name), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent, env=os.environ)


def test_script_is_short_and_needs_three_packages(bundle: Path) -> None:
    assert len((bundle / "adapt.py").read_text().splitlines()) < 150
    assert len((bundle / "adapted_classifier.py").read_text().splitlines()) < 100
    assert len((bundle / "label_free_rule.py").read_text().splitlines()) < 300
    code = f"import sys; sys.path.insert(0, {str(bundle)!r}); import adapt; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "onnxruntime", "PIL"} <= set(loaded)
    assert not {"torch", "onnx", "eyas", "pydantic", "safetensors"} & set(loaded)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_statistics_and_answers_are_those_of_pytorch(bundle: Path, photos: Path, tmp_path: Path, weight: float) -> None:
    """Batches of 32 and what is left, merged as ``pooled`` merges them, then mixed as ``source_mix`` does."""
    done = program(bundle, "adapt.py", photos, "--source-weight", weight)
    assert done.returncode == 0
    torn = photos / "inner/torn.jpg"
    assert done.stderr.splitlines() == [f"{torn}: cannot identify image file '{torn}'"]
    written = tmp_path / "statistics.safetensors"
    classifier = AdaptedClassifier(bundle, written)
    files = sorted((photos / "inner").glob("[0-9]*.png"))
    images = torch.from_numpy(np.concatenate([network_input(classifier.read(file), classifier.how) for file in files]))
    adapted = copy.deepcopy(colour_network())
    mix = Calibrator.parse({"kind": "source_mix", "source_weight": weight})
    mix(adapted, images.split([32, 32, 6]))
    told = load_file(written)
    assert told["images"] == PHOTOS
    np.testing.assert_allclose(told["0.mean"], adapted[0].running_mean, atol=1e-4)
    np.testing.assert_allclose(told["0.var"], adapted[0].running_var, atol=1e-4)
    with torch.inference_mode():
        expected = adapted(images).softmax(1).numpy()
    for file, one in zip(files[::10], expected[::10], strict=True):
        np.testing.assert_allclose(classifier(classifier.read(file)), one, atol=1e-4)
    answered = program(bundle, "predict.py", "--statistics", written, files[0])
    assert (answered.returncode, answered.stderr) == (0, "")
    label = classifier.labels[int(expected[0].argmax())]
    assert answered.stdout.startswith(f"{files[0]}: {label} {expected[0].max():.4f}"[:-1])


def test_it_shows_how_far_the_images_are(bundle: Path, photos: Path) -> None:
    first, _, row, *last = program(bundle, "adapt.py", photos).stdout.splitlines()
    assert first == f"{PHOTOS} images against what the network knows, by layer:"
    layer, divergence, shift = row.split()
    assert layer == "0"
    field = read_tensors(bundle.parent / "statistics.safetensors")
    mean, variance = (2 * field[f"0.{part}"] - old for part, old in (("mean", 0), ("var", 1)))  # of the images alone
    assert float(shift) == pytest.approx(float(abs(mean / np.sqrt(1 + 1e-5)).mean()), abs=2e-3)
    own, other = 1 + 1e-5, variance + 1e-5
    expected = (own / other + other / own - 2 + mean**2 * (1 / own + 1 / other)).mean() / 2
    assert float(divergence) == pytest.approx(float(expected), abs=2e-3)
    assert "0.5 of the network's own, 0.5 of these images" in last[-2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "0 images could be read: statistics need two at least"),
        (["photos/inner/00.png"], "1 images could be read"),
        (["photos", "--source-weight", "1.5"], "invalid share value: '1.5'"),
        ([], "the following arguments are required: images"),
        (["photos", "--to", "no/folder/x"], "No such file or directory"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(
    bundle: Path, photos: Path, words: list[str], message: str
) -> None:
    done = program(bundle, "adapt.py", *words)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(bundle.parent.glob("*statistics*"))


def test_it_may_run_in_the_bundle(bundle: Path, photos: Path, kept_process: None) -> None:
    command = [sys.executable, "adapt.py", str(photos)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, cwd=bundle, check=True, capture_output=True, env=environment)
    assert (bundle / "statistics.safetensors").exists()
    assert list((bundle / "__pycache__").glob("adapted_classifier.*.pyc"))
    check_contents(bundle)


def test_what_is_written_by_hand_is_safetensors(tmp_path: Path) -> None:
    arrays = {"a.mean": np.arange(3, dtype=np.float32), "a.eps": np.array(0.5), "images": np.array(7)}
    write_tensors(arrays, tmp_path / "mine")
    save_file(arrays, tmp_path / "theirs")
    for file, read in [("mine", load_file), ("theirs", read_tensors), ("mine", read_tensors)]:
        again = read(tmp_path / file)
        assert again.keys() == arrays.keys()
        assert all(np.array_equal(again[name], value) for name, value in arrays.items())


def test_verify_accepts_what_the_device_wrote(
    bundle: Path, photos: Path, made_adaptable: Made, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    program(bundle, "adapt.py", photos)
    written = bundle.parent / "statistics.safetensors"
    tar = made_adaptable.export / "bundle.tar.gz"
    assert run(["verify", str(tar), "--statistics", str(written)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == f"{written} is accepted: 0% of the golden images get another class"
    assert [line.partition(":")[0] for line in told[-9:-1]] == [f"ok   {name}" for name in REASONS]


def images_in(folder: Path, images: list[Image.Image]) -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        image.save(folder / f"{number:03}.png")
    return folder


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("what", ["grey", "one class"])
def test_images_of_one_class_are_refused_and_nothing_is_written(bundle: Path, what: str, weight: float) -> None:
    grey = [Image.new("RGB", (SIZE, SIZE), (78 + number,) * 3) for number in range(100)]
    red = [photograph("red", (30, 30), seed) for seed in range(100)]
    folder = images_in(bundle.parent / "of_one", grey if what == "grey" else red)
    done = program(bundle, "adapt.py", folder, "--source-weight", weight)
    assert done.returncode == 1
    assert "FAIL one class: the source takes 100% of the images for one class (at most 77%: 33% is usual" in done.stdout
    (told,) = done.stderr.splitlines()
    assert told.startswith("ValueError: one class")
    assert told.endswith(": nothing is written, the network keeps the statistics that it has")
    assert not list(bundle.parent.glob("*statistics*"))


def test_few_images_are_taken_if_that_is_asked(
    bundle: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    few = [photograph(("red", "green", "blue")[seed % 3], (30, 30), seed) for seed in range(63)]
    folder, written = images_in(bundle.parent / "few", few), bundle.parent / "statistics.safetensors"
    done = program(bundle, "adapt.py", folder)
    assert (done.returncode, written.exists()) == (1, False)
    assert "FAIL images: 63, at least 64 unless few are asked for" in done.stdout
    assert program(bundle, "adapt.py", folder, "--few-images").returncode == 0
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 3
    assert f"{written} is refused: images: 63, at least 64" in capsys.readouterr().err
    assert run(["verify", str(bundle), "--statistics", str(written), "--few-images"]) == 0


def test_copies_of_an_image_count_once_and_are_told(bundle: Path, photos: Path, tmp_path: Path) -> None:
    alone = program(bundle, "adapt.py", photos, "--to", "alone")
    assert "copies" not in alone.stdout
    inner = photos / "inner"
    for number in range(PHOTOS):
        shutil.copyfile(inner / f"{number:02}.png", inner / f"{number:02}-again.png")
    for number in range(5):  # equal pixels in another file
        Image.open(inner / f"{number:02}.png").save(inner / f"{number:02}.bmp")
    twice = program(bundle, "adapt.py", photos, "--to", "twice")
    first, rest = twice.stdout.split("\n", 1)
    assert first == "75 images are copies of others: of 145 each different one counts once"
    assert rest == alone.stdout.replace("alone:", "twice:")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "alone").read_bytes()


def test_copies_do_not_make_few_images_many(bundle: Path) -> None:
    photo = photograph("red", (30, 30), 1)
    folder = images_in(bundle.parent / "one", [photo] * 99)
    done = program(bundle, "adapt.py", folder)
    assert done.returncode == 1
    assert done.stdout.startswith("98 images are copies of others: of 99 each different one counts once")
    assert "1 images could be read: statistics need two at least" in done.stderr


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """260 dim photographs, named so that the colours take turns."""
    colours, folder = ("red", "green", "blue"), tmp_path_factory.mktemp("stream") / "here"
    dim = [photograph(colours[number % 3], (16, 16), number).point(lambda value: value * 0.6) for number in range(260)]
    return images_in(folder, dim)


def test_a_quarter_of_many_images_is_kept_from_the_statistics_and_judges(
    bundle: Path, stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    done = program(bundle, "adapt.py", stream, "--source-weight", 0)
    assert done.returncode == 0
    assert done.stdout.startswith("195 images against what the network knows")
    assert "ok   images: 260, at least 64 unless few are asked for; 65 that are held out judge\n" in done.stdout
    written = tmp_path / "statistics.safetensors"
    told, classifier = load_file(written), Classifier(bundle)
    assert told["images"] == 260
    assert told["field.classes"].sum(1).tolist() == [65, 65]
    followed, judges = held_out(different_images(classifier, [stream])[0], read_rule(bundle))
    assert {*followed, *judges} == {*stream.iterdir()}
    assert not {*followed} & {*judges}
    pixels = np.concatenate([network_input(classifier.read(file), classifier.how) for file in followed]).astype(float)
    np.testing.assert_allclose(told["0.mean"], pixels.mean((0, 2, 3)), atol=1e-5)
    assert {int(file.stem) % 3 for file in judges} == {int(file.stem) % 4 for file in judges} - {3} == {0, 1, 2}
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 0
    assert "65 that are held out judge" in capsys.readouterr().out
    save_file(told | {"images": np.array(65)}, written)  # as if those that judge made them
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 0
    save_file(told | {"images": np.array(300)}, written)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 3


def test_names_and_order_do_not_move_what_is_held_out(made_adaptable: Made, stream: Path, tmp_path: Path) -> None:
    classifier, rule = Classifier(made_adaptable.folder), read_rule(made_adaptable.folder)
    drawn = {file.read_bytes() for file in held_out(different_images(classifier, [stream])[0], rule)[1]}
    for file in stream.iterdir():
        shutil.copyfile(file, tmp_path / f"{999 - int(file.stem) * 7 % 261}.png")
    again = held_out(different_images(classifier, [tmp_path])[0], rule)[1]
    assert {file.read_bytes() for file in again} == drawn


def test_statistics_that_are_no_nearer_on_other_images_are_refused(bundle: Path) -> None:
    """The network holds what such images have: statistics of some of them are farther from the others, as noise is."""
    network = colour_network()
    photos = [photograph(("red", "green", "blue")[number % 3], (16, 16), number) for number in range(260)]
    folder = images_in(bundle.parent / "usual", photos)
    classifier = Classifier(bundle)
    pixels = np.concatenate([network_input(classifier.read(file), classifier.how) for file in sorted(folder.iterdir())])
    network[0].running_mean.copy_(torch.from_numpy(pixels.mean((0, 2, 3))))
    network[0].running_var.copy_(torch.from_numpy(pixels.var((0, 2, 3))))
    write_statistics(network, 100, bundle / "bn_statistics.safetensors")
    done = program(bundle, "adapt.py", folder, "--source-weight", 0)
    assert done.returncode == 1
    assert "FAIL statistics: layers are " in done.stdout
    assert not (bundle.parent / "statistics.safetensors").exists()


def test_images_of_two_of_three_classes_are_refused_by_their_shares(
    bundle: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    two = [photograph(("red", "green")[seed % 2], (30, 30), seed) for seed in range(100)]
    folder = images_in(bundle.parent / "two", [photo.point(lambda value: value * 0.8) for photo in two])
    done = program(bundle, "adapt.py", folder)
    assert done.returncode == 1
    assert "FAIL classes: shares of the classes are 0.33 from those of clean images (at most 0.15)" in done.stdout
    (told,) = done.stderr.splitlines()
    assert told.startswith("ValueError: classes: nothing is written")
    write_rule(bundle, {**LIMITS, "max_class_distance": 1.0}, CLEAN)  # where the classes are others for good
    write_list(bundle)
    assert program(bundle, "adapt.py", folder).returncode == 0


@pytest.fixture
def written(bundle: Path, photos: Path) -> Path:
    """What the script wrote."""
    assert program(bundle, "adapt.py", photos).returncode == 0
    return bundle.parent / "statistics.safetensors"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field.classes": np.array([[70, 0, 0], [70, 0, 0]])}, "one class: the source takes 100% of the images"),
        ({"field.classes": np.array([[30, 20, 20], [60, 5, 5]])}, "collapse: the largest class has 86% after 43%"),
        ({"field.entropy": np.array([0.2, 0.3])}, "entropy: changes by +0.100 of ln K over all images (at most +0.03)"),
        (UNEVEN | {"field.sure": np.array([50, 30]), "field.entropy": np.array([0.2, 0.2])}, "agreement: 60% of 50"),
        (
            UNEVEN
            | {"field.sure": np.array([50, 50]), "field.sure_entropy": np.array([0.1, 0.2])}
            | {"field.entropy": np.array([0.2, 0.2])},
            "sure answers: the entropy of 50 images",
        ),
        ({"field.classes": np.array([[36, 34, 0], [36, 34, 0]])}, "classes: shares of the classes are 0.33 from those"),
        ({"field.distance": np.array([0.1, 0.2])}, "statistics: layers are 0.2 from what they hold, 0.1 without"),
        *(
            (changes, "what the file tells of its images is incomplete or impossible")
            for changes in (
                {"images": np.array(10**6)},
                {"images": np.array(70.0)},
                {"images": np.zeros((0,), np.int64)},
                {"field.classes": None},
                {"field.classes": np.array([[71, 0, -1], [30, 20, 20]])},
                {"field.classes": np.array([[2**62, 2**62, 2**63 - 70]] * 2, np.uint64).astype(np.int64)},
                {"field.classes": np.array([[35, 35], [35, 35]])},
                {"field.classes": np.array([[24.0, 23, 23], [24, 23, 23]])},
                {"field.entropy": np.array([np.nan, 0.1])},
                {"field.entropy": np.array([0.1, 7.0])},
                {"field.entropy": np.array(0.1)},
                {"field.sure": np.array([50, 51])},
                {"field.sure": np.array([71, 70])},
                {"field.distance": np.array([np.inf, np.nan])},
            )
        ),
    ],
)
def test_verify_refuses_what_the_answers_speak_against(
    bundle: Path, written: Path, changes: dict, message: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    told = {**load_file(written), **changes}
    save_file({name: value for name, value in told.items() if value is not None}, written)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_file_that_tells_nothing_of_its_images_is_refused_where_the_bundle_writes_that(
    bundle: Path, written: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    save_file({name: value for name, value in load_file(written).items() if name not in TOLD}, written)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 3
    (told,) = capsys.readouterr().err.splitlines()
    assert told.endswith("tells nothing of the images that it was made of: let the bundle's adapt.py write it")


def test_a_file_that_tells_nothing_of_its_images_is_accepted_by_the_golden_ones_alone_in_an_older_bundle(
    bundle: Path, written: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    save_file({name: value for name, value in load_file(written).items() if name not in TOLD}, written)
    for name in (RULE, "label_free_rule.py"):
        (bundle / name).unlink()
    write_list(bundle)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.endswith("another class; by these alone, since it tells nothing of the images that it was made of")


def test_a_bundle_without_a_rule_of_its_own_is_asked_by_the_default_limits_on_all_images(
    bundle: Path, written: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    (bundle / RULE).unlink()
    write_list(bundle)
    told = load_file(written)
    told |= {"images": np.array(300), "field.classes": np.array([[100, 100, 100], [100, 100, 100]])}
    save_file(told, written)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 0
    names = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[-8:-1]]
    assert names == [f"ok   {name}" for name in REASONS if name != "classes"]


def test_limits_are_those_of_the_revert_rule() -> None:
    rule = RevertRule().model_dump()
    assert LIMITS.items() <= rule.items()
    assert rule.keys() - LIMITS.keys() == {"alpha", "excusing_rise_gap"}  # which need labels, and clean images
    assert label_free_rule.FEWEST_IMAGES == FEWEST_IMAGES
    assert label_free_rule.CHANCE == CHANCE


def test_answers_are_judged_as_the_revert_rule_judges_them() -> None:
    """Of logits that are drawn: every reason that needs neither canary nor layers; each fails somewhere."""
    rule = read_rule(Path("nowhere"))
    generator, failed = torch.Generator().manual_seed(0), set[str]()
    images = torch.randn(80, 1, 4, 4, generator=generator)

    class Told(nn.Module):
        def __init__(self, logits: torch.Tensor) -> None:
            super().__init__()
            self.logits = logits

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            assert len(batch) == len(self.logits)
            return self.logits

    for trial in range(60):
        favour = torch.zeros(5)
        favour[0] = 3.0 * (trial % 3)
        before = 3 * torch.randn(80, 5, generator=generator) + favour
        after = (0.5, 1.0, 2.0)[trial % 5 % 3] * before + (trial % 4) * torch.randn(80, 5, generator=generator)
        after[:, 1] += 4.0 * (trial % 7 == 0)
        expected = judge(Told(before), Told(after), images).reasons
        told = summarised(before.softmax(1).numpy(), after.softmax(1).numpy(), (1.0, 1.0), rule)
        judged = reasons({**told, "images": np.array(80)}, 5, rule)
        assert [one[:2] for one in judged[1:-1]] == [(one.name, one.holds) for one in expected]
        failed |= {name for name, holds, _ in judged if not holds}
    assert failed == {"one class", "collapse", "entropy", "agreement", "sure answers"}


class Told(nn.Module):
    """Answers an image with what stands in its first or its second row."""

    def __init__(self, row: int) -> None:
        super().__init__()
        self.row = row

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return batch[:, 0, self.row]


@pytest.mark.parametrize("changes", [{}, {"max_class_distance": 0.16, "sure": 0.8, "max_class_growth": 0.05}])
def test_answers_are_judged_as_the_revert_rule_judges_them_beside_a_canary(changes: dict, tmp_path: Path) -> None:
    """Shares of classes among clean images, the chance test and its excuse included; words, too."""
    generator, failed, words = torch.Generator().manual_seed(1), set[str](), set[str]()
    for trial in range(80):
        count = (40, 80, 300)[trial % 3]
        clean = 2 * torch.randn(400, 1, 4, 5, generator=generator)
        clean[..., 0] += 2.0 * (trial % 4 == 0)  # a class that is frequent
        images = 2 * torch.randn(count, 1, 4, 5, generator=generator)
        images[:, :, 0, 0] += (0.0, 2.0, 4.0)[trial % 5 % 3]
        images[:, :, 1] = images[:, :, 0] * 1.02 + 0.3 * (trial % 3) * images[:, :, 1]
        images[:, :, 1, 0] += (0.0, 0.4, -2.0, 1.0)[trial % 4]
        limits = RevertRule(**changes)
        canary = clean, clean[:, 0, 0].argmax(1)
        expected = judge(Told(0), Told(1), images, canary, rule=limits).reasons
        write_rule(tmp_path, limits.model_dump(), torch.bincount(canary[1], minlength=5).tolist())
        rule = {**read_rule(tmp_path), "hold_out": None}
        before, after = (images[:, 0, row].softmax(1).numpy() for row in (0, 1))
        told = {**summarised(before, after, (1.0, 1.0), rule), "images": np.array(count)}
        judged = reasons(told, 5, rule, few_images=True)
        assert judged[1:-1] == [(one.name, one.holds, one.text) for one in expected if one.name != "canary"]
        failed |= {name for name, holds, _ in judged if not holds}
        words |= {
            word for *_, text in judged for word in ("as frequent as among clean", "as far as chance") if word in text
        }
    assert {"one class", "collapse", "classes"} <= failed
    assert words == {"as frequent as among clean", "as far as chance"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"0.mean": np.full(3, np.nan)}, "0.mean is of another size, not finite"),
        ({"0.var": np.array([1, np.inf, 1])}, "0.var is of another size, not finite"),
        ({"0.var": np.array([1, 1e300, 1])}, "0.var is of another size, not finite"),
        ({"0.var": np.array([1.0, -1e-3, 1])}, "0.var is of another size, not finite, or a negative variance"),
        ({"0.mean": np.zeros(4)}, "0.mean is of another size"),
        ({"9.mean": np.zeros(3)}, "only one of them has 9.mean"),
        ({"0.var": None}, "only one of them has 0.var"),
        ({"0.mean": np.array([40.0, -40, 0])}, "of the golden images get another class, at most 75% may"),
    ],
)
def test_verify_refuses_what_cannot_be_or_costs_too_much(
    bundle: Path, tmp_path: Path, changes: dict, message: str, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    told = {"0.mean": np.zeros(3), "0.var": np.ones(3), **changes}
    file = tmp_path / "other.safetensors"
    save_file({name: value for name, value in told.items() if value is not None}, file)
    assert run(["verify", str(bundle), "--statistics", str(file)]) == 3
    (told_line,) = capsys.readouterr().err.splitlines()
    assert message in told_line


def headed(header: bytes) -> bytes:
    """A file with that header, and some numbers."""
    return len(header).to_bytes(8, "little") + header + bytes(64)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"torn",
        b"\x04\0\0\0\0\0\0\0[1]\n",
        (9).to_bytes(8, "little") + b'{"a": 1}x',
        headed(b'{"a":' * 50_000),
        headed(b"[" * 50_000 + b"]" * 50_000),
        headed(b'{"0.mean": {"dtype": "F32", "shape": [' + b"9" * 5000 + b'], "data_offsets": [0, 4]}}'),
        headed(b'{"\\ud800.mean": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
    ],
)
def test_verify_refuses_what_holds_no_statistics(
    bundle: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    (tmp_path / "torn").write_bytes(content)
    assert run(["verify", str(bundle), "--statistics", str(tmp_path / "torn")]) == 3
    (told,) = capsys.readouterr().err.splitlines()
    assert "torn" in told


def test_a_bundle_without_the_form_for_it_says_so(made: Made, tmp_path: Path) -> None:
    save_file({"0.mean": np.zeros(3)}, tmp_path / "some")
    with pytest.raises(DataError, match="takes no other statistics: export it with `adaptable`"):
        verify_bundle(made.folder, tmp_path / "some")


def test_golden_images_may_cost_what_the_bundle_lets_a_canary_cost(
    bundle: Path, written: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    told = {**load_file(written), "0.mean": np.array([4.0, 0, 0])}
    save_file(told, written)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 0
    changed = capsys.readouterr().out.splitlines()[-1]
    assert "accepted: 0% of the golden" not in changed
    write_rule(bundle, {**LIMITS, "max_canary_loss": 0.0}, None)
    write_list(bundle)
    assert run(["verify", str(bundle), "--statistics", str(written)]) == 3
    assert "of the golden images get another class, at most 0% may: keep the old" in capsys.readouterr().err


def test_where_each_pixel_has_a_class_its_share_counts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)).eval()
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    how = {"model": "model.onnx", "in_graph": False, "mode": "RGB", "resize": None, "size": 8}
    how |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    pixels = torch.from_numpy(network_input(Image.fromarray(image), how))
    (tmp_path / "golden").mkdir()
    Image.fromarray(image).save(tmp_path / "golden/0.png")
    picture_of(network(pixels)[0].argmax(0).numpy()).save(tmp_path / "golden/0.mask.png")
    told = {"labels": ["a", "b", "c"], "preprocessing": how}
    told["golden/expected"] = {"tolerance": 0.01, "masks": {"0.png": "0.mask.png"}}
    for name, content in told.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    Onnx()(network, pixels, tmp_path / "model.onnx")
    write_adaptable(network, pixels, Onnx(), tmp_path)
    write_statistics(network, 9, tmp_path / "bn_statistics.safetensors")
    assert AdaptedClassifier(tmp_path, tmp_path / "bn_statistics.safetensors").check() == 0
    other = {"0.mean": np.array([0.5, 0, 0]), "0.var": np.ones(3)}
    save_file(other, tmp_path / "other")
    adapted = copy.deepcopy(network)
    adapted[0].running_mean.copy_(torch.tensor(other["0.mean"]))
    expected = (adapted(pixels).argmax(1) != network(pixels).argmax(1)).double().mean()
    assert 0 < AdaptedClassifier(tmp_path, tmp_path / "other").check() == pytest.approx(float(expected))
