"""``eyas adapt``: what is typed reaches the flow, a folder from where the user stands."""

from pathlib import Path
from typing import Any

import pytest

from eyas.cli import adapt_command, main

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
