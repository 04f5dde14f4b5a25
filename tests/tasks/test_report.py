import shutil
from pathlib import Path

import pytest

from eyas.config import PipelineParams
from tasks.report import build_report, print_summary
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
    for words in ("97.22 %", "rank 1 of 20", "digits version 7", "report.md", "run abc123", "make ui"):
        assert words in said
