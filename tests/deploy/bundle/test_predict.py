"""``predict.py`` as a user of the device calls it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.colour_bundle import Made, photograph


def predict(bundle: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(bundle / "predict.py"), *map(str, words)]
    environment = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent, env=environment)


def test_script_is_short_and_needs_three_packages(made: Made) -> None:
    for name in ("predict.py", "image_answers.py", "classifier.py"):
        assert len((made.folder / name).read_text().splitlines()) < 60
    code = f"import sys; sys.path.insert(0, {str(made.folder)!r}); import predict; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "onnxruntime", "PIL"} <= set(loaded)
    assert not {"torch", "onnx", "eyas", "pydantic"} & set(loaded)


def test_class_names_with_probabilities_and_an_unreadable_file_among_them(bundle: Path, tmp_path: Path) -> None:
    photograph("red", (50, 40)).save(tmp_path / "sunset.jpg")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "sunset.jpg").read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("no image")
    photograph("green", (3, 2)).save(tmp_path / "tiny.png")  # smaller than the network's input
    files = ["sunset.jpg", "torn.jpg", "notes.txt", "missing.png", "tiny.png"]
    done = predict(bundle, *(tmp_path / name for name in files))
    assert done.returncode == 2
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/sunset.jpg: red 0.9")
    assert second.startswith(f"{tmp_path}/tiny.png: green 0.")
    shares = [float(part.split()[-1]) for part in first.split(": ")[1].split(", ")]
    assert sum(shares) == pytest.approx(1, abs=1e-3)
    told = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in told] == [str(tmp_path / name) for name in files[1:4]]
    assert told[2].endswith("missing.png: No such file or directory")
    assert "Errno" not in done.stderr


def test_good_files_alone_end_with_0(made: Made, tmp_path: Path) -> None:
    photograph("blue", (20, 40)).save(tmp_path / "sea.png")
    done = predict(made.folder, tmp_path / "sea.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path}/sea.png: blue 0." in done.stdout


def test_names_that_the_terminal_lacks_are_spelt_out(bundle: Path, tmp_path: Path) -> None:
    labels = json.loads((bundle / "labels.json").read_text())
    (bundle / "labels.json").write_text(json.dumps(["r\u00f6t" if label == "red" else label for label in labels]))
    photograph("red", (20, 20)).save(tmp_path / "sunset.png")
    done = predict(bundle, tmp_path / "sunset.png", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sunset.png: r\\xf6t 0." in done.stdout


def test_check_replays_the_golden_pairs(bundle: Path) -> None:
    done = predict(bundle, "--check")
    assert (done.returncode, done.stderr) == (0, "")
    told = r"golden pairs: as expected, a probability differs from PyTorch's by (\S+) at most\n"
    assert 0 < float(re.fullmatch(told, done.stdout)[1]) < 0.01
    expected = json.loads((bundle / "golden/expected.json").read_text())
    expected["probabilities"]["1.png"].reverse()
    (bundle / "golden/expected.json").write_text(json.dumps(expected))
    done = predict(bundle, "--check")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if "golden/1.png" in line]
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["end_to_end.onnx", "labels.json", "golden/0.png"])
def test_a_damaged_bundle_is_told_in_one_line(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-40])
    done = predict(bundle, "--check")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_nothing_asked_and_no_folder_are_refused(made: Made, tmp_path: Path) -> None:
    for words, told in (
        ((), "name an image, --check or --camera DIR"),
        (("--camera", tmp_path / "no"), "is no folder"),
    ):
        done = predict(made.folder, *words)
        assert done.returncode == 2
        assert told in done.stderr


@contextmanager
def heeding_ctrl_c() -> Iterator[None]:
    """Children that are started here take SIGINT, also where a shell in the background left it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_camera_waits_in_an_empty_folder_and_answers_what_comes(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    command = [sys.executable, str(made.folder / "predict.py"), "--camera", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with heeding_ctrl_c(), subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stderr.readline() == f"{folder} is empty: waiting for images\n"
            (folder / "1.jpg").write_bytes(b"half of a file")
            assert process.stderr.readline().startswith(f"{folder}/1.jpg: ")
            photograph("green", (30, 30)).save(tmp_path / "whole.jpg")
            time.sleep(0.02)  # another time of change
            (tmp_path / "whole.jpg").rename(folder / "1.jpg")
            assert process.stdout.readline().startswith(f"{folder}/1.jpg: green 0.")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        assert process.stderr.read() == ""


LOOKS = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
import predict

class Gone(type(pathlib.Path())):
    def is_file(self):
        return True  # when it was asked; not a moment later

class Folder:
    looks = iter([[Gone("gone.png")], [pathlib.Path(__file__)]])
    def iterdir(self):
        return ["gone.png"]
    def glob(self, pattern):
        return next(self.looks, None) or sys.exit(0)

predict.time.sleep = lambda seconds: None
predict.answer = lambda classifier, file: print(file.name)
predict.watch(None, Folder())
"""


def test_a_file_that_leaves_the_folder_does_not_end_the_camera(made: Made, tmp_path: Path) -> None:
    (tmp_path / "looks.py").write_text(LOOKS)
    command = [sys.executable, str(tmp_path / "looks.py"), str(made.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "looks.py\n", "")
