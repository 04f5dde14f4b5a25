import json
import re
import shutil
from pathlib import Path

import pytest

from eyas.config import PipelineParams
from eyas.data.comparability import Comparability
from eyas.operations.tracking import Version
from eyas.operations.tracking.adaptation_run import ADAPTED_FROM
from tasks import report
from tasks.report import build_report, next_steps, print_summary, reproduce_lines
from tasks.tracking_store import open_store
from tasks.workspace import Workspace
from tests.support.workspace import write_workspace


@pytest.fixture
def workspace(tmp_path: Path, digits_params: PipelineParams) -> Workspace:
    folder = tmp_path / "workspaces" / "small"
    write_workspace(folder / "artifacts", candidates=20)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    runtime = digits_params.runtime.model_copy(update={"tracking_uri": uri})
    params = digits_params.model_copy(update={"runtime": runtime})
    arguments = ("--params", "configs/small.yaml", "--set", "export.parity_images=1 0")
    return Workspace(tmp_path, folder, "small", params, arguments=arguments)


def test_report_tells_how_to_make_it_again(workspace: Workspace) -> None:
    expected = "eyas run --params configs/small.yaml --set 'export.parity_images=1 0'"
    assert workspace.command == expected
    page = build_report(workspace)
    assert page == workspace.artifacts / "report" / "report.md"
    assert f".venv/bin/{workspace.command}" in page.read_text()


def test_report_is_rebuilt_from_files_alone(workspace: Workspace) -> None:
    first = build_report(workspace).read_text()
    shutil.rmtree(workspace.artifacts / "report")
    assert build_report(workspace).read_text() == first


def test_summary_says_what_was_made_and_where(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(workspace, "7", "abc123")
    said = capsys.readouterr().out
    head = "\nUndecided, passes the gates: −0.56 points against the dense network, which is 2 of 360 test images"
    assert f"{head} (3 gained, 5 lost)" in said
    few = (
        "\n- 360 test images cannot tell a loss above 1 point from none, about 2,900 would: more than 1,280 images can"
    )
    assert few in said
    for words in ("97.22 %", "rank 1 of 20", "report.html", "run abc123", "make ui"):
        assert words in said
    assert "not comparable" not in said
    promote = "promote --params configs/small.yaml --set 'export.parity_images=1 0' --version 7"
    (line,) = (line for line in said.splitlines() if line.startswith("next "))
    allowed = "its gate allows a measured loss of 5 points"
    assert line.endswith(f"{promote}   ({allowed})")
    uri = open_store(workspace).uri
    assert f"MLFLOW_TRACKING_URI={uri} make ui" in said


def test_summary_repeats_the_warnings_just_before_the_table(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary(workspace, "7", "abc123", warnings=["little signal [in] it", "few images"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["", "warning: little signal [in] it", "warning: few images"]
    assert lines[3].startswith("small")


def test_summary_says_that_accuracies_are_not_comparable(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    Comparability(False, "the checkpoint may have seen them").write(workspace.artifacts / "baseline")
    print_summary(workspace, "7", "abc123")
    said = " ".join(capsys.readouterr().out.split())
    assert "next run on test images that the first weights were not made from (fetch.test)" in said
    assert said.count("promote ") == 1
    assert "--version 7 --force 'why it is good enough'" in said
    assert "97.22 % 96.67 % not comparable" in said
    assert "Accuracies of dense and pruned network are not comparable: the checkpoint may have seen them." in said


def test_a_report_says_which_own_code_must_lie_where(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib/mypkg").mkdir(parents=True)
    (tmp_path / "lib/mypkg/net.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    own = {"mypkg/net.py": "0" * 64, "torch": "2.13.0", "baseline.checkpoint": "1" * 64}
    (workspace.folder / "inputs.json").write_text(json.dumps({"fetch": {}, "baseline": own}))
    *_, file, place, command = reproduce_lines(workspace)
    assert file.endswith(": the parameters, which must lie there")
    assert place == "# mypkg/net.py: own code, on PYTHONPATH"
    assert command == f"PYTHONPATH={tmp_path}/lib:$PYTHONPATH .venv/bin/{workspace.command}"


def test_what_is_champion_already_is_not_to_be_promoted_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = Version("net", "7")
    monkeypatch.setattr(report, "get_alias", lambda *_: champion)
    first, *others = next_steps(workspace, "7", "the smallest that succeeded")
    assert first.endswith("   (the smallest that succeeded; version 7 is the champion already)")
    assert not any("promote" in step for step in (first, *others))
    assert "promote" in next_steps(workspace, "6")[0]
    model = workspace.params.register_.model
    champion = Version(model, "7", {ADAPTED_FROM: f"{model}/6"})
    first, *_ = next_steps(workspace, "6")
    assert re.search(r"compare .*6 champion   \(the champion, version 7, was adapted from version 6\)$", first)
