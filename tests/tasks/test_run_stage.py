"""What a stage prints on its way to logs and progress."""

import json
import logging
import os
import signal
from typing import Any

import pytest
from prefect.states import Failed

from eyas.cli.interruption import Interruption, Stopped
from eyas.cli.run_view import Step
from eyas.errors import ChecksumError, StorageError
from tasks import run_stage
from tasks.dvc_cli import StageError
from tasks.run_stage import StageOutputHandler, worth_retrying
from tasks.stage import EventFormatter


@pytest.mark.parametrize("failing", ["create_progress_artifact", "update_progress_artifact"])
def test_progress_that_prefect_does_not_take_stops_nothing(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def answer(name: str) -> Any:
        def call(*_: object, **__: object) -> str:
            calls.append(name)
            if name == failing:
                raise RuntimeError("http://ann:hunter2secret@server:4200 is away")
            return "artifact"

        return call

    for name in ("create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(run_stage, name, answer(name))
    monkeypatch.setattr(run_stage, "get_run_logger", lambda: logging.getLogger("stage"))
    monkeypatch.setattr(run_stage, "SECONDS_BETWEEN_REPORTS", 0.0)
    told: list[tuple[int, int]] = []
    lines = StageOutputHandler("score", Step(), lambda done, total: told.append((done, total)))
    for done in range(1, 5):
        lines(json.dumps({"event": "progress", "done": done, "total": 4, "text": ""}))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert calls.count(failing) == 1
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["Prefect shows no progress any more: http://server:4200 is away"]


def test_a_signal_waits_until_a_line_is_told_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Interruption(["eyas", "run"])
    command.patience = None
    command.install()
    told: list[str] = []

    def show(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        told.append("Prefect")

    monkeypatch.setattr(run_stage, "create_progress_artifact", show)
    monkeypatch.setattr(run_stage, "get_run_logger", lambda: logging.getLogger("stage"))
    lines = StageOutputHandler("score", Step(), lambda *_: told.append("MLflow"))
    with pytest.raises(Stopped):
        lines(json.dumps({"event": "progress", "done": 1, "total": 4, "text": ""}))
    assert told == ["Prefect", "MLflow"]


def test_a_stage_s_warning_is_one_for_the_flow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On its way it is a line of the stage's output, written as ``tasks.stage`` writes it."""
    monkeypatch.setattr(run_stage, "get_run_logger", lambda: logging.getLogger("stage"))
    warning = logging.makeLogRecord({"levelno": logging.WARNING, "msg": "%d images are blank", "args": (3,)})
    news = logging.makeLogRecord({"levelno": logging.INFO, "msg": "40 images"})
    lines = StageOutputHandler("fetch", Step())
    with caplog.at_level(logging.INFO):
        for record in (warning, news):
            lines(EventFormatter().format(record))
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "fetch: 3 images are blank"),
        (logging.INFO, "fetch | 40 images"),
    ]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ChecksumError("artifacts/baseline/model.safetensors is not what baseline wrote"), False),
        (StageError("score", 2, "bad input", ""), False),
        (StageError("score", 137, "killed", ""), True),
        (StorageError("away"), True),
        (OSError("disk"), True),
    ],
)
def test_what_is_altered_or_wrong_is_not_tried_again(error: Exception, again: bool) -> None:
    assert worth_retrying(None, None, Failed(data=error)) is again
