"""``eyas adapt``: what is typed reaches the flow, a folder from where the user stands."""

from pathlib import Path
from typing import Any

import pytest

from eyas.cli import adapt_command, main, watch_command
from eyas.cli.options import require_folder_per_class
from eyas.errors import DataError
from flows import adaptation_commands

Handed = list[tuple[tuple[Any, ...], dict[str, Any]]]


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch, kept_process: None) -> Handed:
    """What would be handed over to the project."""
    calls: Handed = []
    monkeypatch.setattr(adapt_command, "hand_over", lambda *words, **options: calls.append((words, options)) or 0)
    return calls


def test_a_folder_is_handed_over_whole_and_an_adapter_as_the_parameter_it_is(
    handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").touch()
    monkeypatch.chdir(tmp_path)
    weight = "adapt.adapter.source_weight=0.5"
    assert main(["adapt", "photos", "--adapter", "alpha_bn", "--set", weight, "--labels", "--version", "7"]) == 0
    ((words, options),) = handed
    assert words == (
        *("adaptation_commands.adapt", None, ["adapt.adapter=alpha_bn", weight], None),
        str(tmp_path / "photos"),
    )
    assert options == {"version": "7", "labelled": True, "force": False, "reason": "asked", "as_json": False}


@pytest.mark.parametrize("address", ["s3://cameras/7", "https://example.org/a.parquet", "builtin:digits", "$CAMERA"])
def test_an_address_is_handed_over_as_it_is(handed: Handed, address: str) -> None:
    assert main(["adapt", address]) == 0
    assert handed[0][0][-1] == address


def test_without_images_those_of_the_parameters_are_meant(handed: Handed) -> None:
    assert main(["adapt"]) == 0
    assert handed[0][0][-1] is None


def test_a_folder_that_is_not_there_is_told_before_anything_is_loaded(
    handed: Handed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["adapt", "nowhere/at/all"]) == 2
    assert "nowhere/at/all: there is no such file or folder" in capsys.readouterr().err
    assert handed == []


@pytest.mark.parametrize("command", ["adapt", "predict", "watch --once"])
def test_a_folder_without_a_file_is_told_before_anything_is_loaded(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], kept_process: None
) -> None:
    (tmp_path / "empty/.git").mkdir(parents=True)
    (tmp_path / "empty/.git/a.png").touch()
    assert main([*command.split(), str(tmp_path / "empty")]) == 2
    assert "empty holds no image: name a folder of images" in capsys.readouterr().err


def test_pictures_in_no_class_folder_have_no_labels(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    require_folder_per_class(folder)  # empty: told elsewhere
    for name in ("a.png", "b.JPG", ".hidden"):
        (folder / name).touch()
    with pytest.raises(DataError, match=r"--labels: \S+photos holds images in no class folders: leave out"):
        require_folder_per_class(folder)
    for other in ("data.parquet", "cat/c.png"):
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).touch()
        require_folder_per_class(folder)
        (folder / other).unlink()


def test_labels_that_nothing_says_are_told_before_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").touch()
    how = {"version": None, "labelled": True, "force": False, "reason": "", "as_json": False}
    reached = RuntimeError("beyond")

    def beyond(*_: object) -> None:
        raise reached

    monkeypatch.setattr(adaptation_commands, "checked_or_told", beyond)
    with pytest.raises(DataError, match="leave out --labels"):
        adaptation_commands.adapt(None, [], None, str(tmp_path), **how)
    with pytest.raises(RuntimeError, match="beyond"):  # a format of one's own may know labels in file names
        adaptation_commands.adapt(None, ["adapt.format=mine"], None, str(tmp_path), **how)


def test_dates_and_a_detector_are_handed_over_as_the_parameters_they_are(
    handed: Handed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--since", "7d", "--until", "2026-11-27", "--detector", "hyperdimensional"]
    chosen = ["adapt.detector=hyperdimensional", "adapt.since=7d", "adapt.until=2026-11-27"]
    assert main(["adapt", "s3://cameras/7", *flags]) == 0
    assert handed[0][0][2] == chosen
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").touch()
    monkeypatch.setattr(watch_command, "hand_over", lambda *words, **options: handed.append((words, options)) or 0)
    assert main(["watch", str(tmp_path / "photos"), "--once", "--since", "7d", "--set", chosen[2]]) == 0
    assert handed[1][0][2] == chosen[1:]
