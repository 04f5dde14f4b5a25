"""``eyas doctor``: each finding with what to do, status 1 where a run would stop."""

import json
from pathlib import Path

import pytest

from eyas.cli import main
from eyas.operations import doctor
from eyas.operations.doctor import Finding


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch, kept_process: None) -> list[Finding]:
    listed = [Finding("git", "good", "/usr/bin/git"), Finding("timm", "note", "not installed", "pip install timm")]
    monkeypatch.setattr(doctor, "examine", lambda *_: listed)
    return listed


def test_a_healthy_machine_gets_ticks_and_the_next_command(
    findings: list[Finding], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *("✓ git  /usr/bin/git", "– timm not installed: pip install timm", "a run can start: eyas run"),
    ]


def test_what_stops_a_run_has_a_cross_and_status_1(findings: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    findings.append(Finding("disk", "fault", "0.1 GiB free", "free some"))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == ["✗ disk 0.1 GiB free: free some", "1 to mend before a run"]
    assert main(["doctor", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["ready"] is False
    assert content["findings"][2] == {"name": "disk", "state": "fault", "text": "0.1 GiB free", "advice": "free some"}


def test_outside_of_a_project_it_says_where_to_go(tmp_path: Path) -> None:
    first = doctor.examine(None, tmp_path)[0]
    assert (first.name, first.state) == ("project", "fault")
    assert "dvc.yaml" in first.advice
