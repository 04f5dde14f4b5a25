import csv
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from eyas.errors import RefusedError
from eyas.operations import tracking
from eyas.operations.tracking import MlflowStore, StageRecord, live_stage, stage_runs
from eyas.operations.tracking.adaptation_run import AdaptationRecord, adaptation_run
from eyas.operations.tracking.comparison_run import record_comparison
from eyas.operations.tracking.live_stage import LiveStage
from eyas.operations.tracking.model_registry import Version
from eyas.operations.tracking.run_lineage import read_lineage
from eyas.operations.tracking.status import last_runs


def record_of(artifacts: Path, stage: str, key: str, **facts: object) -> StageRecord:
    return StageRecord(name=stage, key=key, folder=artifacts / stage, seconds=2.5, **facts)  # type: ignore[arg-type]


def test_stage_is_recorded_as_child_with_metrics_curves_files_and_params(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "default", params={"finetune": {"epochs": 15}})
    params = {"epochs": 15, "recipe": {"kind": "sgd"}}
    child = tracking.record_stage(store, parent, record_of(artifacts, "finetune", "k-files", params=params))
    run = store.client.get_run(child)
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time >= 2400
    written = json.loads((artifacts / "finetune/metrics.json").read_text())
    assert {name: run.data.metrics[f"finetune.{name}"] for name in written} == written
    assert run.data.params["finetune.recipe.kind"] == "sgd"
    with (artifacts / "finetune/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    points = store.client.get_metric_history(child, "finetune.history.score_accuracy")
    assert [(point.step, point.value) for point in points] == [
        (int(row["epoch"]), float(row["score_accuracy"])) for row in rows
    ]
    assert {item.path for item in store.client.list_artifacts(child)} == {"metrics.json", "history.csv"}
    assert store.client.get_run(parent).data.metrics == {}


def test_skipped_stage_links_to_the_run_that_made_it(store: MlflowStore, artifacts: Path) -> None:
    first = tracking.start_pipeline(store, "first")
    record = record_of(artifacts, "score", "k-skip")
    made = tracking.record_stage(store, first, record)
    second = tracking.start_pipeline(store, "second")
    assert tracking.record_stage(store, second, replace(record, skipped=True)) == made
    assert read_lineage(store, second)["stages"] == {"score": {"run": made, "key": "k-skip", "skipped": True}}
    query = "tags.`eyas.stage_key` = 'k-skip'"
    assert len(store.client.search_runs([store.experiment_id], query)) == 1


def test_another_key_is_recorded_anew(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "default")
    runs = {tracking.record_stage(store, parent, record_of(artifacts, "sample", key)) for key in ("k-1", "k-2")}
    assert len(runs) == 2


def test_stage_restored_from_the_cache_is_recorded_from_its_files(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "clone")
    child = tracking.record_stage(store, parent, record_of(artifacts, "baseline", "k-restored", skipped=True))
    run = store.client.get_run(child)
    assert run.data.tags["eyas.origin"] == "restored"
    assert "baseline.seconds" not in run.data.metrics


def test_recording_that_broke_off_is_not_taken_for_done(
    store: MlflowStore, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tracking.start_pipeline(store, "default")
    record = record_of(artifacts, "sample", "k-broken")

    def break_off(*arguments: object) -> None:
        raise RuntimeError("cut off")

    with monkeypatch.context() as patch:
        patch.setattr(store.client, "log_artifact", break_off)
        with pytest.raises(RuntimeError, match="cut off"):
            tracking.record_stage(store, parent, record)
    again = tracking.record_stage(store, parent, record)
    runs = store.client.search_runs([store.experiment_id], "tags.`eyas.stage_key` = 'k-broken'")
    assert {run.info.run_id: run.info.status for run in runs}[again] == "FINISHED"
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


WRITES: dict[str, Callable[[MlflowStore], str]] = {
    "log_batch": lambda store: tracking.start_pipeline(store, "default", params={"a": 1}),
    "log_dict": lambda store: tracking.start_pipeline(store, "default", settings={"a": 1}),
    "log_text": lambda store: record_comparison(store, "compare", ["a"], {"table.md": "|"}, "note"),
}
"""Records of a run's beginning, or of a whole one, by the call of MLflow's client that they make."""


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("cut off"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
@pytest.mark.parametrize("call", WRITES)
def test_no_run_stays_open_whose_record_is_cut_short(
    store: MlflowStore, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException, status: str
) -> None:
    write, errors = getattr(store.client, call), [error]
    before = {run.info.run_id for run in store.client.search_runs([store.experiment_id])}

    def cut_once(*arguments: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return write(*arguments, **options)

    monkeypatch.setattr(store.client, call, cut_once)
    with pytest.raises(type(error)):
        WRITES[call](store)
    runs = store.client.search_runs([store.experiment_id])
    assert [run.info.status for run in runs if run.info.run_id not in before] == [status]


def test_data_set_is_an_input_with_its_digest(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "default")
    child = tracking.record_stage(store, parent, record_of(artifacts, "fetch", "k-data"))
    (data,) = store.client.get_run(child).inputs.dataset_inputs
    whole = json.loads((artifacts / "fetch/manifest.json").read_text())["digest"]
    assert whole.startswith(data.dataset.digest)
    assert len(data.dataset.digest) == 36
    assert read_lineage(store, parent)["dataset_hash"] == whole


def test_data_files_stay_out_of_the_tracking_server(store: MlflowStore, artifacts: Path) -> None:
    (artifacts / "fetch/files").mkdir()
    (artifacts / "fetch/files/train.bin").write_bytes(b"x")
    parent = tracking.start_pipeline(store, "default")
    child = tracking.record_stage(store, parent, record_of(artifacts, "fetch", "k-nofiles"))
    assert {item.path for item in store.client.list_artifacts(child)} == {"manifest.json", "metrics.json"}


def test_failed_run_keeps_message_and_end_of_log(
    store: MlflowStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    run_id = tracking.start_pipeline(store, "default")
    tracking.fail_run(store, run_id, "stage fetch failed: 403", "GET https://me:pw@host/x?sig=abc\nhunter2hunter2\n")
    run = store.client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["eyas.error"] == "stage fetch failed: 403"
    log = Path(store.client.download_artifacts(run_id, "log_tail.txt", str(tmp_path))).read_text()
    assert log == "GET https://host/x\n***\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt("stopped by SIGINT"), SystemExit(1), ValueError("no room")])
def test_recording_that_is_cut_short_closes_the_stages_run(
    store: MlflowStore, artifacts: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def cut_short(*_: object) -> None:
        raise error

    parent = tracking.start_pipeline(store, "default")
    monkeypatch.setattr(stage_runs, "_upload", cut_short)
    with pytest.raises(type(error)):
        tracking.record_stage(store, parent, record_of(artifacts, "score", f"k-{type(error).__name__}"))
    (child,) = store.client.search_runs([store.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert child.info.status == ("FAILED" if isinstance(error, ValueError) else "KILLED")
    assert child.data.tags["eyas.error"] == str(error)


def test_stage_that_failed_has_a_failed_run_of_its_own(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "default")
    failed = tracking.fail_stage(store, parent, "score", "stage score failed: no images", "the last lines")
    run = store.client.get_run(failed)
    assert (run.info.status, run.data.tags["eyas.error"]) == ("FAILED", "stage score failed: no images")
    assert run.data.tags["mlflow.parentRunId"] == parent
    assert read_lineage(store, parent)["stages"]["score"]["run"] == failed
    again = tracking.record_stage(store, parent, record_of(artifacts, "score", "k-after-failure"))
    assert again != failed


def test_progress_is_a_stepped_metric_and_never_stops_the_work(
    store: MlflowStore, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = tracking.start_pipeline(store, "default")
    assert all(tracking.log_progress(store, run_id, "score", done, 40) for done in (10, 20))
    points = store.client.get_metric_history(run_id, "score.progress")
    assert [(point.step, point.value) for point in points] == [(10, 0.25), (20, 0.5)]
    assert not tracking.log_progress(store, "no-such-run", "score", 30, 40)
    assert "MLflow takes no progress any more" in caplog.text


def test_secrets_in_parameters_reach_no_run(store: MlflowStore, tmp_path: Path) -> None:
    params = {"fetch": {"train": "https://user:pw@host/data.parquet?token=abc"}}
    run_id = tracking.start_pipeline(store, "default", params=params, settings=params)
    assert store.client.get_run(run_id).data.params["fetch.train"] == "https://host/data.parquet"
    file = Path(store.client.download_artifacts(run_id, "params.yaml", str(tmp_path)))
    assert yaml.safe_load(file.read_text()) == {"fetch": {"train": "https://host/data.parquet"}}


@pytest.mark.parametrize("recorded_in", ["a file", "tags"])
def test_a_file_of_a_stage_is_brought_from_the_run_that_made_it(
    store: MlflowStore, artifacts: Path, tmp_path: Path, recorded_in: str
) -> None:
    """Runs of before name their stages' runs in tags."""
    record = record_of(artifacts, "sample", f"k-{recorded_in}")
    parent = tracking.start_pipeline(store, "first")
    child = tracking.record_stage(store, parent, record)
    if recorded_in == "tags":
        parent = tracking.start_pipeline(store, "before", tags={"eyas.sample.run": child})
    brought = tracking.download_stage_file(store, parent, "sample", "metrics.json", tmp_path)
    assert brought is not None
    assert brought.read_text() == (artifacts / "sample/metrics.json").read_text()


def test_a_stage_at_work_shows_its_progress_in_the_run_that_records_it(store: MlflowStore, artifacts: Path) -> None:
    parent = tracking.start_pipeline(store, "default")
    live = LiveStage(store, parent, "score")
    assert store.client.search_runs([store.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'") == []
    for done in (10, 20):
        live.tell(done, 40)
    live.close()
    again = LiveStage(store, parent, "score")  # the stage is tried again
    again.tell(40, 40)
    again.close()
    child = tracking.record_stage(store, parent, record_of(artifacts, "score", "k-live"))
    assert child == live.run_id == again.run_id
    points = store.client.get_metric_history(child, "score.progress")
    assert [(point.step, point.value) for point in points] == [(10, 0.25), (20, 0.5), (40, 1.0)]
    assert store.client.get_run(child).info.status == "FINISHED"


def test_a_long_stage_shows_what_it_takes_of_the_machine(store: MlflowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil")
    monkeypatch.setattr(live_stage, "LONG_SECONDS", -1.0)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    parent = tracking.start_pipeline(store, "default")
    live = LiveStage(store, parent, "finetune")
    live.tell(1, 2)
    watched = threading.Event()
    monkeypatch.setattr(live.monitor, "publish_metrics", _and_set(live.monitor.publish_metrics, watched))
    assert watched.wait(30)
    live.close()
    measured = store.client.get_run(live.run_id).data.metrics
    assert 0 < measured["system/system_memory_usage_percentage"] <= 100
    assert not any(name.startswith("system/") for name in store.client.get_run(parent).data.metrics)


def _and_set(call: Callable[[Any], None], event: threading.Event) -> Callable[[Any], None]:
    def both(metrics: Any) -> None:
        call(metrics)
        event.set()

    return both


def test_a_store_that_is_gone_stops_no_stage(store: MlflowStore, caplog: pytest.LogCaptureFixture) -> None:
    live = LiveStage(replace(store, experiment_id="987654"), "no-such-run", "score")
    for done in (10, 20):
        live.tell(done, 40)
    live.close()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "MLflow takes no progress" in caplog.text


def test_more_points_than_one_call_takes(store: MlflowStore, artifacts: Path) -> None:
    lines = ["epoch,loss", *(f"{epoch},{1 / epoch}" for epoch in range(1, 2001))]
    (artifacts / "finetune/history.csv").write_text("\n".join(lines))
    parent = tracking.start_pipeline(store, "default")
    child = tracking.record_stage(store, parent, record_of(artifacts, "finetune", "k-long"))
    points = store.client.get_metric_history(child, "finetune.history.loss")
    assert sorted(point.step for point in points) == list(range(1, 2001))


def test_a_run_that_was_interrupted_is_told_as_stopped(store: MlflowStore) -> None:
    run_id = tracking.start_pipeline(store, "default", tags={"eyas.model": "interrupted", "eyas.kind": "pipeline"})
    tracking.fail_run(store, run_id, "stopped by SIGINT", killed=True)
    (run,) = last_runs(store, "interrupted", 5)
    assert (run.run_id, run.status, run.why) == (run_id, "stopped", "stopped by SIGINT")


def test_an_adaptation_whose_refusal_is_cut_short_does_not_stay_open(
    store: MlflowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = Version("net", "1")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AdaptationRecord, "close", stopped)
    with pytest.raises(KeyboardInterrupt), adaptation_run(store, version, params={}, tags={}):
        raise RefusedError("few images")
    (run,) = store.client.search_runs([store.experiment_id], "tags.`eyas.kind` = 'adaptation'")
    assert run.info.status == "KILLED"
