"""The result on Prefect's pages."""

import logging
from pathlib import Path
from typing import Any

import pytest

from eyas.operations import tracking
from eyas.operations.report import Gist, read_results
from eyas.operations.tracking import MlflowStore
from tasks import prefect_pages
from tests.support.workspace import write_workspace

GIST = Gist("Undecided, but the gates let it pass", "no loss was measured", refused=False)


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return write_workspace(tmp_path / "artifacts", candidates=12)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What Prefect was asked to show, by key."""
    artifacts: dict[str, dict[str, Any]] = {}

    def take(**content: Any) -> None:
        artifacts[content["key"]] = content

    for name in ("create_table_artifact", "create_link_artifact"):
        monkeypatch.setattr(prefect_pages, name, take)
    return artifacts


@pytest.fixture
def store(tmp_path: Path) -> MlflowStore:
    return tracking.open_store(tmp_path, uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


def test_a_table_under_the_verdict_and_links_to_run_and_report(
    store: MlflowStore, artifacts: Path, shown: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    run_id = tracking.start_pipeline(store, "mine")
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.html").write_text("<html></html>")
    tracking.log_report(store, run_id, tmp_path / "report")
    prefect_pages.show_result(store, run_id, read_results(artifacts), "mine · 50 % MACs", GIST)
    first = shown["result"]["table"][0]
    assert first == {
        "mine · 50 % MACs": "test accuracy",
        "dense": "97.22 %",
        "pruned": "96.67 %",
        "change": first["change"],
    }
    assert shown["result"]["description"].startswith(f"**{GIST.sentence}.**\n\n−0.56 points against")
    page = f"http://127.0.0.1:5000/#/experiments/{store.experiment_id}/runs/{run_id}"
    assert shown["mlflow-run"]["link"] == f"{page}?workflowType=machine_learning"
    assert shown["report"]["link"] == f"{page}/artifacts/report/report.html?workflowType=machine_learning"


def test_a_report_that_is_not_there_has_no_link(
    store: MlflowStore, artifacts: Path, shown: dict[str, dict[str, Any]]
) -> None:
    prefect_pages.show_result(store, tracking.start_pipeline(store, "mine"), read_results(artifacts), "mine", GIST)
    assert set(shown) == {"result", "mlflow-run"}


def test_pages_that_prefect_does_not_take_stop_nothing(
    store: MlflowStore, artifacts: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("http://ann:hunter2secret@server:4200 is away")

    monkeypatch.setattr(prefect_pages, "get_run_logger", lambda: logging.getLogger("flow"))
    for name in ("create_table_artifact", "create_link_artifact"):
        monkeypatch.setattr(prefect_pages, name, fail)
    prefect_pages.show_result(store, tracking.start_pipeline(store, "mine"), read_results(artifacts), "mine", GIST)
    assert [record.getMessage() for record in caplog.records] == [
        f"Prefect does not show the {key}: http://server:4200 is away" for key in ("result", "mlflow-run")
    ]
