"""The default run on a terminal: one screen of 25 rows, broken between words."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from eyas.cli.run_view import RunView
from eyas.config import PipelineParams
from eyas.operations.report import LATENCY
from tasks.key_numbers import key_numbers
from tasks.report import print_summary
from tasks.workspace import Workspace
from tests.support.workspace import write_workspace

ROWS = 25
STAGES = ("fetch", "baseline", "sample", "score", "finetune", "export")
RECORDED = {
    "fetch": {"train": 979, "calibration": 173, "score": 296, "test": 349, "classes": 10},
    "baseline": {"test_accuracy": 0.99713, "macs": 747136},
    "sample": {
        "candidates": 64, "candidates_at_most": 200, "macs_min": 370152, "macs_max": 377264, "groups": 6,
    },
    "score": {"winner_score": -0.03685, "candidates": 200, "uniform_score": -0.06656},
    "finetune": {"test_accuracy": 0.99713, "macs": 375000, "test_images": 349, "test_gained": 0, "test_lost": 0},
    "export": {"model_bytes": 229461, "agreement": 1.0, "max_difference": 7.15e-6},
}  # fmt: skip
"""What the stages of the default run say of themselves."""
UNDECIDED = {"test_accuracy": 0.9914, "test_gained": 0, "test_lost": 2}
"""What fine-tuning says of itself where two test images are lost."""
WARNING = "only 64 of the 200 candidates were scored on all images: the others lie further behind than chance"


@pytest.fixture
def workspace(tmp_path: Path, digits_params: PipelineParams, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """One that the default run left: no options, from where the user stands."""
    artifacts = write_workspace(tmp_path / "artifacts", candidates=200)
    for stage, numbers in RECORDED.items():
        write(artifacts / stage / "metrics.json", numbers)
    manifest = json.loads((artifacts / "fetch/manifest.json").read_text())
    manifest["splits"]["train"] = dict.fromkeys(manifest["splits"]["train"], 145)  # 1,800 images in all, as digits has
    (artifacts / "fetch/manifest.json").write_text(json.dumps(manifest))
    (artifacts / "export/bundle/golden").mkdir(parents=True)
    (artifacts / "export/bundle/golden/0.png").touch()
    monkeypatch.setenv("PWD", str(tmp_path))
    return Workspace(tmp_path, tmp_path, "default", digits_params)


def write(path: Path, numbers: dict[str, float]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | numbers if path.exists() else numbers))


def shown(
    workspace: Workspace, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *warned: str
) -> list[str]:
    """The rows that a first run leaves on a terminal of ``width`` columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    steps = io.StringIO()
    view = RunView(
        Path(".eyas/logs/run-default-20261127-074840.log"), Console(file=steps, width=width, highlight=False)
    )
    for stage in STAGES:
        with view.step(stage) as one:
            one.note = key_numbers(stage, workspace.artifacts)
    for warning in warned:
        view.warn(warning)
    with view.step("register") as one:
        one.note = "eyas-digits version 1, alias 'candidate'"
    log = workspace.root / view.log
    print_summary(workspace, "1", "d97627c47e094d77b3be8e00c554b5a8", log, view.scrolled_away)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", steps.getvalue() + capsys.readouterr().out)
    return text.removesuffix("\n").split("\n")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("warned", [(), (WARNING,)])
@pytest.mark.parametrize("undecided", [False, True])
def test_the_default_run_fills_one_screen(
    workspace: Workspace,
    width: int,
    warned: tuple[str, ...],
    undecided: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tasks.report.get_alias", lambda *_: None)
    if warned and not undecided:  # and times within the noise
        latency = json.loads((workspace.artifacts / LATENCY).read_text())
        latency["milliseconds"]["model"] = latency["milliseconds"]["dense"]
        write(workspace.artifacts / LATENCY, latency)
    if undecided:
        write(workspace.artifacts / "finetune" / "metrics.json", UNDECIDED)
    rows = shown(workspace, width, monkeypatch, capsys, *warned)
    text = "\n".join(rows)
    assert len(rows) <= ROWS, text
    assert max(map(len, rows)) <= width, "a terminal would break words"
    told = " ".join(text.split())
    for words in ("349 test; 10 classes", "within 7.2e−06", "make ui", "run-default-20261127-074840.log", *warned):
        assert words in told
    assert told.count("warning: ") == len(warned)
    assert ("within the noise" in told) == (bool(warned) and not undecided)
    assert ("95 % interval −1.54 to +0.40 points" if undecided else "95 % interval −0.56 to +0.56 points") in told
    assert ("about 820 would: set a larger fetch.test_fraction" in told) == undecided
    assert ("(its gate allows a measured loss of 5 points)" in told) == undecided
