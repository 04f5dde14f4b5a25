"""Images of a folder against a registered version: windows in a line each, an alarm where drift begins, refusals."""

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eyas.adaptation.drift import DriftReference
from eyas.data import open_dataset
from eyas.errors import BadInputError, CheckpointError, DataError
from flows import watch_commands
from tasks import watch
from tasks.predict import instead_of_champion
from tasks.watch import Watcher, even_windows, look_on, look_once, open_watcher, raise_alarm
from tasks.watch_conclusion import conclusion, order_hint
from tests.tasks.registering import Setting, enter

ROOT = Path(__file__).parents[2]
HOW = {"window": 64, "false_alarm_rate": 0.001}


def write_images(folder: Path, images_NHW: np.ndarray, first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(images_NHW, first):
        Image.fromarray(image).save(folder / f"{number:04d}.png")


@pytest.fixture(scope="module")
def digits(root: Path) -> np.ndarray:
    """Test images of 8 x 8, unsigned bytes."""
    return open_dataset(root / "artifacts/fetch").split("test").images()[:128, 0].numpy()


def darker(images: np.ndarray) -> np.ndarray:
    return (images // 3).astype(np.uint8)


@pytest.fixture
def watcher(setting: Setting) -> Iterator[Watcher]:
    with open_watcher(setting(), "run", None, **HOW) as opened:
        yield opened


def test_clean_images_are_quiet_and_darker_ones_are_told_once(
    watcher: Watcher, setting: Setting, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(tmp_path / "field", np.concatenate([digits[:64], darker(digits)]))
    (tmp_path / "field/0003.png").write_bytes(b"\x89PNG")
    watched = replace(watcher, folder=tmp_path / "field")
    windows = list(look_once(watched, even_windows(tmp_path / "field", 64)))
    assert [window.report.drift for window in windows] == [False, True, True]
    assert windows[0].line().startswith("window 1, images 1 to 64 (0000.png to 0063.png): no drift in 63 images")
    assert "darker images" in windows[1].line()
    assert list(windows[0].unreadable) == [tmp_path / "field/0003.png"]
    told = []
    monkeypatch.setattr(watch, "tell", lambda params, notice: told.append(notice) or True)
    before = [None, *(window.report for window in windows)]
    assert [raise_alarm(setting(), window, last) for window, last in zip(windows, before[:-1], strict=True)] == [
        False,
        True,
        False,
    ]
    (notice,) = told
    assert (notice.event, notice.flow, notice.message) == ("drift", "watch", windows[1].line())
    assert "drift" in setting().params.notify.events


def test_a_window_among_class_folders_is_named_so_that_a_person_finds_it(
    watcher: Watcher, digits: np.ndarray, tmp_path: Path
) -> None:
    field = tmp_path / "field"
    field.mkdir()
    for name, part in zip("abc", (digits[:48], digits[48:80], digits[80:]), strict=True):
        write_images(field / name, part)  # each begins at 0000.png
    first, second = look_once(replace(watcher, folder=field), even_windows(field, 64))
    assert first.line().startswith("window 1, images 1 to 64 (a/0000.png to b/0015.png): ")
    assert second.line().startswith("window 2, images 65 to 128 (b/0016.png to c/0047.png): ")


def test_a_version_is_watched_by_a_reference_that_is_made_once(
    setting: Setting, digits: np.ndarray, tmp_path: Path
) -> None:
    workspace = setting()
    number = enter(workspace).number
    shutil.rmtree(workspace.state / "drift", ignore_errors=True)
    for _ in range(2):
        with open_watcher(workspace, number, None, **HOW) as opened:
            assert f"version {number}" in opened.name
        (kept,) = (workspace.state / "drift").iterdir()
        assert DriftReference.load(kept).image_shape == (1, 8, 8)
    kept.write_bytes(b"broken")
    with pytest.raises(DataError, match="is no drift reference"), open_watcher(workspace, number, None, **HOW):
        pass
    kept.unlink()


def test_windows_come_as_images_do(watcher: Watcher, digits: np.ndarray, tmp_path: Path) -> None:
    folder, looks = tmp_path / "camera", []
    folder.mkdir()

    def bring(_: float) -> None:
        """Eight more than a window; only those are looked at that were written a while ago."""
        looks.append(len(looks))
        write_images(folder, digits[:36], 36 * len(looks))
        for file in folder.iterdir():
            os.utime(file, (1e9 + int(file.stem), 1e9 + int(file.stem)))
        write_images(folder, digits[:1], 9000 + len(looks))

    windows = look_on(watcher, folder, 64, 1.0, bring)
    first, second = next(windows), next(windows)
    assert (first.number, second.number) == (1, 2)
    assert [file.stem for file in (first.files[0], first.files[-1], second.files[0])] == ["0036", "0099", "0100"]
    assert len(looks) == 4


def test_a_bad_delivery_does_not_end_the_watch(
    watcher: Watcher, digits: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path / "camera", digits[:64], 64)
    for number in range(64):
        (tmp_path / f"camera/{number:04d}.png").write_bytes(b"")
    for file in (tmp_path / "camera").iterdir():
        os.utime(file, (1e9 + int(file.stem), 1e9 + int(file.stem)))
    assert next(look_on(watcher, tmp_path / "camera", 64, 1.0, lambda _: None)).number == 2
    assert "window 1: 0 of 64 images can be read" in caplog.text


def test_the_command_tells_each_window_and_ends_with_three(
    setting: Setting, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(watch_commands, "checked", lambda *_: setting())
    write_images(tmp_path / "clean", digits[:64])
    write_images(tmp_path / "dark", darker(digits[:64]))
    (tmp_path / "out").mkdir()
    options = {"version": "run", "reference": None, "once": True, "seconds": 1.0, **HOW}
    assert watch_commands.watch(None, [], None, tmp_path / "clean", out=None, as_json=False, **options) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert f"watches {tmp_path / 'clean'}" in captured.err
    assert watch_commands.watch(None, [], None, tmp_path / "dark", out=tmp_path / "out", as_json=True, **options) == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["window"], told["drift"], told["images"]) == (1, True, 64)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        *("window-0001.json", "window-0001.png", "window-0001.txt"),
    ]


def test_the_advice_is_told_once_at_the_end_and_the_order_of_class_folders_is_told(
    setting: Setting, root: Path, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(watch_commands, "checked", lambda *_: setting())
    options = {"version": "run", "reference": None, "once": True, "seconds": 1.0, "out": None, "as_json": False, **HOW}
    write_images(tmp_path / "dark", darker(digits))
    assert watch_commands.watch(None, [], None, tmp_path / "dark", **options) == 3
    first, second, advice = capsys.readouterr().out.splitlines()
    assert (first.partition(",")[0], second.partition(",")[0]) == ("window 1", "window 2")
    assert "adaptation is expected to help" not in first + second
    assert advice.startswith("advice (windows 1 and 2): adaptation is expected to help")
    split = open_dataset(root / "artifacts/fetch").split("train")
    images, labels = split.images()[:, 0].numpy(), split.labels.numpy()
    for label in (0, 2, 3):
        (tmp_path / "photos").mkdir(exist_ok=True)
        write_images(tmp_path / f"photos/{label}", images[labels == label][:64])
    assert watch_commands.watch(None, [], None, tmp_path / "photos", **options) == 3
    *windows, advice, hint = capsys.readouterr().out.splitlines()
    assert len(windows) == 3
    assert all("another balance of classes" in line for line in windows)
    assert advice.startswith("advice (windows 1 to 3): do not adapt: other classes are more frequent now")
    assert "at most 1 of 3 folders in such a window" in hint
    assert "--window 192 judges all as one" in hint


def test_no_order_is_blamed_where_images_look_otherwise_or_come_mixed(
    watcher: Watcher, digits: np.ndarray, tmp_path: Path
) -> None:
    for name, images in (("a", digits[:64]), ("b", digits[64:])):
        (tmp_path / "dark").mkdir(exist_ok=True)
        write_images(tmp_path / "dark" / name, darker(images))
    dark = list(look_once(watcher, even_windows(tmp_path / "dark", 64)))
    assert [window.report.drift for window in dark] == [True, True]
    assert order_hint(dark) == ""
    other = dark[0].report.model_copy(update={"changes": ("another balance of classes",)})
    as_classes = [replace(window, report=other) for window in dark]
    assert order_hint(as_classes)
    mixed = dark[0].files[:32] + dark[1].files[:32]
    assert order_hint([replace(window, files=mixed) for window in as_classes]) == ""
    assert order_hint(as_classes[:1]) == ""
    several = [replace(window, number=number) for number, window in zip((1, 3), as_classes, strict=True)]
    several[1] = replace(several[1], report=other.model_copy(update={"advice": re.sub(r"\d", "7", other.advice)}))
    (advice,) = conclusion(several)[:-1]
    assert advice.startswith("advice (windows 1 and 3): ")
    assert advice.endswith("(its number is that of window 1)")


def test_where_images_go_on_coming_the_advice_stands_where_drift_begins(
    setting: Setting, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(watch_commands, "checked", lambda *_: setting())
    write_images(tmp_path / "dark", darker(digits))
    windows = even_windows(tmp_path / "dark", 64)
    monkeypatch.setattr(watch, "look_on", lambda watcher, *_, **__: look_once(watcher, windows))
    options = {"version": "run", "reference": None, "once": False, "seconds": 1.0, "out": None, "as_json": False, **HOW}
    watch_commands.watch(None, [], None, tmp_path / "dark", **options)
    first, second = capsys.readouterr().out.splitlines()
    assert "adaptation is expected to help" in first
    assert "adaptation is expected to help" not in second


def test_without_a_champion_the_first_line_says_what_is_taken_and_the_last_one_what_comes_next(
    setting: Setting, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    workspace = replace(setting(), arguments=("--params", "mine.yaml"))
    number = enter(workspace).number
    monkeypatch.setattr(watch_commands, "checked", lambda *_: workspace)
    write_images(tmp_path / "dark", darker(digits[:64]))
    options = {"reference": None, "once": True, "seconds": 1.0, "out": None, "as_json": False, **HOW}
    assert watch_commands.watch(None, [], None, tmp_path / "dark", version=None, **options) == 3
    captured = capsys.readouterr()
    name = workspace.params.register_.model
    assert captured.err.splitlines()[0] == f"{name} has no champion: version {number}, the candidate, is taken"
    assert "warning" not in captured.err
    *_, last = captured.out.splitlines()
    words = shlex.split(last)
    assert (words[0], words[-3:]) == ("next", [words[-3], "--version", number])
    assert words[words.index("adapt") + 1] == "--params"
    assert Path(words[-3]).name == "dark"
    assert instead_of_champion(workspace, number) == ("", ())


def test_what_cannot_be_watched_is_refused(
    setting: Setting, watcher: Watcher, digits: np.ndarray, tmp_path: Path
) -> None:
    write_images(tmp_path / "few", digits[:5])
    with pytest.raises(DataError, match=r"5 of 5 images can be read: a window needs at least 8"):
        even_windows(tmp_path / "few", 64)
    (tmp_path / "none").mkdir()
    with pytest.raises(BadInputError, match="holds no image"):
        even_windows(tmp_path / "none", 64)
    reference = DriftReference(
        **{**watcher.reference.__dict__, "image_shape": (3, 32, 32)},
    ).save(tmp_path / "colour.safetensors")
    with (
        pytest.raises(DataError, match=r"takes images of \(1, 8, 8\) \(C, H, W\), the reference is of \(3, 32, 32\)"),
        open_watcher(setting(), "run", reference, **HOW),
    ):
        pass
    workspace = setting()
    baseline = workspace.params.baseline.model_copy(update={"architecture": "models:other"})
    params = workspace.params.model_copy(update={"baseline": baseline})
    other = type(workspace)(workspace.root, workspace.folder, workspace.name, params)
    with (
        pytest.raises(CheckpointError, match=r"give the profile that made it"),
        open_watcher(other, "run", None, **HOW),
    ):
        pass


def test_the_reference_of_the_manual_is_one_to_watch_by(
    setting: Setting, root: Path, digits: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The block of docs/adaptation.md runs as it is printed, where a run left its artifacts."""
    block, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adaptation.md").read_text(), re.S)
    (tmp_path / "artifacts").symlink_to(root / "artifacts")
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    assert "drift in 128 images: darker images" in capsys.readouterr().out
    write_images(tmp_path / "field", digits[:64])
    with open_watcher(setting(), "run", tmp_path / "camera.safetensors", **HOW) as opened:
        (window,) = look_once(opened, even_windows(tmp_path / "field", 64))
    assert not window.report.drift
    assert watch_commands._in_words([window.files]).startswith(
        "all 64 images as one window, which is judged as a whole"
    )
    assert watch_commands._in_words([window.files, window.files[1:]]) == (
        "127 images in 2 windows of 63 or 64, each judged as a whole (--window N: of N or more)"
    )


def test_copies_of_an_image_count_once(
    watcher: Watcher, digits: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten clean images, each 35 times: counted as 350 they would raise an alarm."""
    write_images(tmp_path / "field", np.concatenate([digits[:10]] * 35))
    (files,) = even_windows(tmp_path / "field", 64)
    assert [file.stem for file in files] == [f"{number:04d}" for number in range(10)]
    assert "340 of 350 images repeat another: each counts once" in caplog.text
    (once,) = look_once(watcher, [files])
    window = watcher.look(1, sorted((tmp_path / "field").iterdir()))  # as they come
    assert not window.report.drift
    assert (window.report.images, window.report.copies, len(window.files)) == (10, 340, 350)
    assert "no drift in 10 images (340 copies left out): " in window.line()
    same = {"copies": 0, "sentence": once.report.sentence}
    assert window.report.model_copy(update=same) == once.report
    for number in range(70, 350):
        (tmp_path / f"field/{number:04d}.png").unlink()
    for number in range(70):
        Image.fromarray(digits[number % 5]).save(tmp_path / f"field/{number:04d}.png")
    told = "5 of 5 images can be read, 65 more repeat another: a window needs at least 8"
    with pytest.raises(DataError, match=told):
        watcher.look(1, sorted((tmp_path / "field").iterdir()))
    with pytest.raises(DataError, match="5 of 5 images can be read: a window needs at least 8"):
        even_windows(tmp_path / "field", 64)


def test_a_file_that_is_taken_away_meanwhile_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "field", np.zeros((2, 8, 8), np.uint8))
    files = [*watch.list_images([tmp_path / "field"]), tmp_path / "field/gone.png"]
    monkeypatch.setattr(watch, "list_images", lambda _: files)
    monkeypatch.setattr(watch, "SETTLED_SECONDS", -1)
    assert watch._settled(tmp_path / "field") == files[:2]


def test_a_folder_that_goes_and_comes_back_is_told_once_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    field, steps = tmp_path / "field", iter(["rmdir", "", "mkdir", ""])
    field.mkdir()

    def sleep(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        if step:
            getattr(field, step)()

    with pytest.raises(KeyboardInterrupt):
        list(look_on(None, field, 64, 1, sleep))  # type: ignore[arg-type]
    words = [record.getMessage().removeprefix(f"{field} ") for record in caplog.records]
    assert words == ["is not there: waiting for it", "is there again"]
