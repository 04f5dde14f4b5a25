"""Deployments: the rhythm of the parameters, and a checkout that is each worker's own."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.deployments.steps import set_working_directory
from prefect.events.schemas.automations import AutomationCore
from prefect.utilities.templating import apply_values

from eyas.config import ScheduleParams
from eyas.errors import BadInputError, EyasError
from eyas.operations.servers import local_servers
from flows import schedule_guard, serve
from flows.serve import deploy, deployment_name, rhythm, serve_schedules

ROOT = Path(__file__).resolve().parents[2]
Calls = list[tuple[list[str], dict[str, str]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Commands that would have been run, with their environment."""
    made: Calls = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> "subprocess.CompletedProcess[str]":
        if "--prefect-file" in command:
            deployments = yaml.safe_load(Path(command[command.index("--prefect-file") + 1]).read_text())["deployments"]
            assert command[command.index("-n") + 1] in [one["name"] for one in deployments]
        made.append((command, env))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    return made


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def make(schedule: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(f"fetch: {{train: data}}\nschedule: {schedule}\n")
        return path

    return make


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ('{cron: "0 3 * * 1", timezone: Europe/Berlin}', ["--cron", "0 3 * * 1", "--timezone", "Europe/Berlin"]),
        ("{interval_minutes: 5}", ["--interval", "300", "--timezone", "UTC"]),
        ("{}", ["--empty-cron"]),
    ],
)
def test_each_gets_its_own_rhythm_and_the_pipeline_none(
    calls: Calls, write: Callable[[str], Path], schedule: str, options: list[str]
) -> None:
    assert deploy(write(schedule)) == 0
    (_, (pipeline, _), (retrain, _), (adapt, _)) = calls
    assert adapt[adapt.index("-n") + 1] == "adapt-mine"
    assert adapt[-1] == "--empty-cron"
    assert pipeline[pipeline.index("-n") + 1] == "pipeline-mine"
    assert retrain[retrain.index("-n") + 1] == "retrain-mine"
    assert retrain[-len(options) :] == options
    assert not set(options) & set(pipeline)


def test_the_deployers_checkout_never_enters_the_deployment(
    calls: Calls, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EYAS_CHECKOUT", "/on/the/deployers/machine")
    deploy(write("{}"))
    assert all("EYAS_CHECKOUT" not in environment for command, environment in calls if "deploy" in command)


def test_the_pull_step_waits_for_the_workers_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("EYAS_CHECKOUT", raising=False)
    # What `prefect deploy` does to the steps that it stores.
    (stored,) = apply_values(steps, {}, remove_notset=False)
    assert "$EYAS_CHECKOUT" in str(stored)
    # What a worker does to them before it runs them.
    monkeypatch.setenv("EYAS_CHECKOUT", str(tmp_path))
    (inputs,) = apply_values(stored, {}).values()
    set_working_directory(**inputs)
    assert os.path.samefile(os.getcwd(), tmp_path)


def test_a_worker_that_we_start_knows_its_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []

    class Servers:
        checkout = ROOT

        def start(self, _name: str, _command: list[str], environment: dict[str, str]) -> None:
            started.append(environment)

    monkeypatch.setattr(local_servers, "make_pool", lambda *_: None)
    local_servers.start_worker(Servers(), local_servers.Addresses("m", "p"))  # type: ignore[arg-type]
    assert started[0]["EYAS_CHECKOUT"] == str(ROOT)


def test_prefects_refusal_is_told_in_its_words(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, calls: Calls
) -> None:
    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, int("deploy" in command), "", "Traceback\n  line 1\nno such pool\n")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(EyasError, match=r"deploy -n pipeline-mine failed: no such pool$"):
        deploy(write("{}"))


def test_without_a_server_there_is_nowhere_to_deploy(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(BadInputError, match="PREFECT_API_URL"):
        deploy(write("{}"))


def test_serving_without_rhythm_and_webhook_is_refused(write: Callable[[str], Path]) -> None:
    with pytest.raises(BadInputError, match="nothing to serve"):
        serve_schedules(write("{}"), 4200, None)


@pytest.mark.parametrize("secret", ["", "too short"])
def test_without_a_secret_for_the_webhook_nothing_is_started(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("EYAS_WEBHOOK_SECRET", secret)
    monkeypatch.setattr(serve, "start_prefect", lambda *_: pytest.fail("Prefect was started"))
    with pytest.raises(BadInputError, match="EYAS_WEBHOOK_SECRET"):
        serve_schedules(write("{}"), 4200, 8900)


def test_the_rhythm_in_prefects_form() -> None:
    assert rhythm(ScheduleParams()) is None
    assert rhythm(ScheduleParams(interval_minutes=7)).interval == timedelta(minutes=7)
    cron = rhythm(ScheduleParams(cron="0 3 * * 1", timezone="Europe/Berlin"))
    assert (cron.cron, cron.timezone) == ("0 3 * * 1", "Europe/Berlin")


def test_what_is_served_watches_for_late_runs(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr(serve, "_serve", lambda *_: seen.append("served"))
    monkeypatch.setattr(serve, "_watch", lambda notify, minutes: seen.append((notify.variable, minutes)))
    file = write("{interval_minutes: 5, grace_minutes: 12}")
    serve_schedules(file, 4200, None)
    assert seen == [("EYAS_NOTIFY_URL", 12), "served"]
    rhythm = "adapt: {images: here, schedule: {interval_minutes: 9, grace_minutes: 45}}\n"
    file.write_text(file.read_text() + rhythm)
    serve_schedules(file, 4200, None)
    assert seen[2:] == [("EYAS_NOTIFY_URL", 45), "served"]


def test_the_automation_in_the_manual_is_one_that_prefect_takes() -> None:
    manual = (ROOT / "docs" / "operate.md").read_text()
    (block,) = re.findall(r"```yaml\n(name: eyas-late\n.*?)```", manual, re.DOTALL)
    automation = AutomationCore.model_validate(yaml.safe_load(block))
    assert automation.trigger.expect == {"prefect.flow-run.Late"}  # type: ignore[union-attr]
    assert all(fnmatch(name, "eyas-*") for name in schedule_guard.FLOWS)


def test_the_end_of_the_webhook_is_told_and_ends_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """It is a process of its own: what becomes of it is a line to whoever serves the schedules."""
    from eyas.operations.servers.processes import Servers

    with Servers(tmp_path) as servers:
        servers.start("webhook", [sys.executable, "-c", "import os; print('gone', flush=True); os._exit(3)"])
        serve._tell_end(servers)
        assert "the webhook ended with status 3; schedules go on:\ngone" in capsys.readouterr().err
    with Servers(tmp_path) as servers:
        servers.start("webhook", ["sleep", "60"])
    serve._tell_end(servers)
    assert capsys.readouterr().err == ""


def test_the_secret_reaches_the_webhook_by_its_environment_alone(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []

    class Servers:
        processes: dict[str, Any]

        def start(self, _name: str, command: list[str], *, page: str) -> None:
            started.append([*command, page])

    monkeypatch.setenv("EYAS_WEBHOOK_SECRET", "a secret of twenty-four b")
    monkeypatch.setattr(serve, "_tell_end", lambda _: None)
    serve.serve_webhook(Servers(), write("{}"), 8900)  # type: ignore[arg-type]
    (command,) = started
    assert command[1:4] == ["-m", "eyas.operations.servers.webhook", "8900"]
    assert command[-1] == "http://127.0.0.1:8900/health"
    assert "a secret" not in " ".join(command)


def test_no_profile_replaces_the_deployments_of_another() -> None:
    assert deployment_name("retrain", ROOT / "params.yaml") == "retrain"
    files = ("configs/cifar10_resnet20.yaml", "configs/cifar10_resnet56.yaml")
    names = [deployment_name("served", ROOT / file) for file in files]
    assert names == ["served-cifar10_resnet20", "served-cifar10_resnet56"]


def test_the_checkouts_own_deployments_keep_their_names(calls: Calls) -> None:
    deploy(ROOT / "params.yaml")
    assert [command[command.index("-n") + 1] for command, _ in calls if "-n" in command] == [
        "pipeline",
        "retrain",
        "adapt",
    ]
