"""Every flow tells how it ended: failed, refused, cancelled, also where the parameters cannot be read."""

import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling, Crashed, Failed

from eyas.cli import main
from eyas.errors import BadInputError, BusyError, EyasError, ParameterError, RefusedError, StorageError
from eyas.operations.notify import Event
from flows import commands, named_profile, notify_hooks
from flows import pipeline as pipeline_module
from flows.notify_hooks import tell_ending
from flows.pipeline import pipeline
from flows.promote import promote
from flows.retrain import retrain
from flows.rollback import rollback
from tasks import adapt as adapt_task
from tasks.dvc_cli import StageError
from tasks.workspace import Workspace
from tests.flows.conftest import Notices


@pytest.fixture(autouse=True)
def root(make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_workspace().root
    monkeypatch.setattr(notify_hooks, "ROOT", root)
    return root


def ended(state: Any, **parameters: Any) -> None:
    tell_ending(retrain, SimpleNamespace(parameters=parameters), state)


@pytest.mark.parametrize("flow", [pipeline, retrain, promote, rollback], ids=lambda flow: flow.name)
def test_every_flow_has_the_hooks(flow: Any) -> None:
    assert flow.on_failure_hooks == flow.on_crashed_hooks == flow.on_cancellation_hooks == [tell_ending]


@pytest.mark.parametrize(
    ("state", "event", "message"),
    [
        (Failed(message="Flow run encountered an exception", data=ParameterError("a field")), "failed", "a field"),
        (Failed(message="it broke", data=ValueError("x")), "failed", "it broke"),
        (Failed(data=BusyError("another run holds it")), "refused", "another run holds it"),
        (Failed(data=RefusedError("a gate said no")), "refused", "a gate said no"),
        (Crashed(message="the process was killed"), "failed", "the process was killed"),
        (Crashed(message="aborted by an interrupt signal", data=KeyboardInterrupt()), "cancelled", "aborted by"),
        (Cancelling(message="by Jo"), "cancelled", "by Jo"),
    ],
    ids=["explained", "unexplained", "busy", "gate", "killed", "interrupted", "cancelled"],
)
def test_each_ending_has_its_event_and_its_words(state: Any, event: Event, message: str, notices: Notices) -> None:
    ended(state)
    (notice,) = notices
    assert (notice["event"], notice["flow"], notice["workspace"]) == (event, "retrain", "default")
    assert message in notice["message"]


@pytest.mark.parametrize("error", [StageError("score", 2, "a field", ""), KeyboardInterrupt()], ids=["stage", "ctrl-c"])
def test_what_ended_a_run_is_told_also_where_mlflow_is_away(
    error: BaseException, make_workspace: Callable[..., Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageError("MLflow is away")

    monkeypatch.setattr(pipeline_module, "start_run", lambda _: "run")
    monkeypatch.setattr(pipeline_module, "fail_run", away)
    with pytest.raises(type(error)) as caught, pipeline_module.recorded_run(make_workspace()):
        raise error
    assert caught.value is error


def test_a_notice_holds_no_credentials(notices: Notices) -> None:
    ended(Failed(message="API request to http://ann:hunter2secret@server:5000/api failed"))
    assert "server:5000" in notices[0]["message"]
    assert "hunter2secret" not in notices[0]["message"]


@pytest.mark.usefixtures("kept_process")
def test_the_command_line_prints_no_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise StorageError("http://ann:hunter2secret@server:5000/api is away")

    monkeypatch.setattr(commands, "status", fail)
    assert main(["status"]) == 1
    assert capsys.readouterr().err == "error: http://server:5000/api is away\n"


@pytest.mark.usefixtures("kept_process")
def test_a_file_that_may_not_be_read_is_not_said_to_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", "params.yaml")

    monkeypatch.setattr(commands, "status", fail)
    assert main(["status"]) == 2
    assert capsys.readouterr().err == "error: no permission for params.yaml: Permission denied\n"


def test_the_section_notify_counts_also_in_a_file_that_is_wrong_elsewhere(
    root: Path, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setenv("OTHER_HOOK", os.environ["EYAS_NOTIFY_URL"])
    monkeypatch.delenv("EYAS_NOTIFY_URL")
    (root / "params.yaml").write_text("notify: {variable: OTHER_HOOK, style: slack}\nscore: {no_such_field: 1}\n")
    ended(Failed(data=ParameterError("score.no_such_field is unknown")))
    assert "score.no_such_field is unknown" in notices[0]["text"]


@pytest.mark.parametrize("content", ["notify: {style: fax}", "notify: [", "notify: {events: []}"])
def test_where_the_section_itself_is_wrong_its_defaults_count_and_silence_stays_silence(
    root: Path, notices: Notices, content: str
) -> None:
    (root / "params.yaml").write_text(f"fetch: {{train: data}}\n{content}\n")
    ended(Failed(data=ParameterError("wrong")))
    assert len(notices) == (0 if "events" in content else 1)


def test_a_retraining_that_nobody_watches_tells_of_wrong_parameters(
    root: Path, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ROOT", root)
    monkeypatch.setattr(named_profile, "ROOT", root)
    monkeypatch.setattr(commands, "begin_prefect", lambda: None)  # a server of its own would stay with pytest's process
    with pytest.raises(ParameterError, match="nothing"):
        commands.retrain(root / "params.yaml", ["score.nothing=1"], None, "asked", force=False, as_json=False)
    assert [notice["event"] for notice in notices] == ["failed"]


def test_a_run_of_the_pipeline_that_fails_is_told_with_its_own_words(
    root: Path, notices: Notices, monkeypatch: pytest.MonkeyPatch, prefect_server: None
) -> None:
    monkeypatch.setattr(pipeline_module, "ROOT", root)
    (root / "params.yaml").write_text("score: {batch_size: many}\n")
    with pytest.raises(ParameterError, match="batch_size"):
        pipeline("params.yaml")
    (notice,) = notices
    assert (notice["event"], notice["flow"]) == ("failed", "pipeline")
    assert "batch_size" in notice["message"]


@pytest.mark.parametrize(
    ("flow", "error", "words"),
    [
        ("promote", BadInputError, "no version with alias 'candidate'"),
        ("rollback", RefusedError, "no previous champion"),
    ],
)
def test_a_promotion_or_rollback_that_does_not_come_about_is_told_once(
    root: Path, notices: Notices, monkeypatch: pytest.MonkeyPatch, prefect_server: None,
    flow: str, error: type[EyasError], words: str,
) -> None:  # fmt: skip
    module = importlib.import_module(f"flows.{flow}")
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(error, match=words):
        getattr(module, flow)("params.yaml")
    (notice,) = notices
    assert (notice["event"], notice["flow"]) == ("refused" if error is RefusedError else "failed", flow)
    assert words in notice["message"]


@pytest.mark.usefixtures("kept_process")
@pytest.mark.parametrize("command", ["run", "retrain", "adapt", "promote", "rollback", "serve", "deploy"])
def test_without_its_prefect_a_command_ends_in_one_line(
    command: str, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, notices: Notices
) -> None:
    """A real connection, refused: the port is closed again before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(commands, "ROOT", root)
    monkeypatch.setattr(named_profile, "ROOT", root)
    monkeypatch.setattr(commands, "_look", lambda *_: None)
    monkeypatch.setattr(adapt_task, "open_made_in", lambda workspace, *_: workspace)
    monkeypatch.setattr(adapt_task, "look_before", lambda *_, **__: None)
    parameters = ["--params", str(root / "params.yaml")]
    with temporary_settings({PREFECT_API_URL: f"http://ann:hunter2secret@127.0.0.1:{port}/api"}):
        assert main([command, *parameters]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "PREFECT_API_URL" in line
    assert "hunter2secret" not in line
    assert [notice["event"] for notice in notices] == (["failed"] if command in {"retrain", "adapt"} else [])
