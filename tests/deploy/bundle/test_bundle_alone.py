"""The bundle in a fresh virtual environment that holds onnxruntime, numpy and Pillow and nothing else of ours."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.colour_bundle import Made, photograph

PACKAGES = ("onnxruntime", "numpy", "pillow")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the environment."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    wanted = [f"{name}=={version(name)}" for name in PACKAGES]
    pip = [
        str(folder / "bin/python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--retries",
        "1",
        "--timeout",
        "10",
    ]
    done = subprocess.run([*pip, *wanted], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package registry is in reach: {done.stderr.strip().splitlines()[-1]}")
    return folder / "bin/python"


def run(python: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_environment_has_nothing_of_ours(python: Path) -> None:
    for name in ("eyas", "torch", "onnx", "mlflow"):
        assert run(python, "-c", f"import {name}").returncode == 1


@pytest.mark.parametrize("where", ["made", "made_as_data"])
def test_a_jpeg_on_disk_gets_the_right_class_name(
    where: str, python: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    made: Made = request.getfixturevalue(where)
    for colour in ("red", "green", "blue"):
        photograph(colour, (64, 48)).save(tmp_path / f"{colour}.jpg")
    done = run(python, made.folder / "predict.py", *(tmp_path / f"{colour}.jpg" for colour in ("red", "green", "blue")))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()] == ["red", "green", "blue"]
    done = run(python, made.folder / "predict.py", "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_device_adapts_with_nothing_else(python: Path, made_adaptable: Made, tmp_path: Path) -> None:
    for number in range(66):
        photograph(("red", "green", "blue")[number % 3], (40, 30), number).save(tmp_path / f"{number}.jpg")
    written = tmp_path / "statistics.safetensors"
    done = run(python, made_adaptable.folder / "adapt.py", tmp_path, "--to", written)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("66 images against what the network knows, by layer:")
    image = tmp_path / "0.jpg"
    done = run(python, made_adaptable.folder / "predict.py", "--statistics", written, image)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{image}: red 0.")
