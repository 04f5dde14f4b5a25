"""``compose.yaml`` against its schema, the installed programs, and the settings that docs/operate.md gives."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.environment_variables
import pytest
import yaml
from mlflow.cli import server
from mlflow.server.security_utils import is_allowed_host_header
from prefect.cli.server import start
from prefect.settings.models.root import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
SET_BY_US = {"EYAS_NOTIFY_URL"}


def options(service: str) -> dict[str, str]:
    """What the command of a service says after its program."""
    words = shlex.split(SERVICES[service]["command"])
    return dict(zip(words[words.index("--host") :: 2], words[words.index("--host") + 1 :: 2], strict=True))


def test_it_is_what_compose_takes() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_make_servers_starts_is_there() -> None:
    assert set(SERVICES) == {"postgres", "mlflow", "prefect", "worker"}
    ours = {name for name, service in SERVICES.items() if service["image"] == "eyas-worker"}
    assert ours == {"mlflow", "prefect", "worker"}
    assert all(SERVICES[name]["build"]["context"] == "." for name in ours)
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["postgres"]["image"])


def test_pages_answer_on_this_machine_alone() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"mlflow": ["127.0.0.1:5000:5000"], "prefect": ["127.0.0.1:4200:4200"]}
    for name, (port,) in ports.items():
        assert options(name)["--port"] == port.rpartition(":")[2]


def test_mlflows_server_answers_the_worker_and_a_browser() -> None:
    words = [word for pair in options("mlflow").items() for word in pair]
    read = server.make_context("server", words).params
    worker = SERVICES["worker"]["environment"]["MLFLOW_TRACKING_URI"]
    for called in (worker.removeprefix("http://"), "localhost:5000", "127.0.0.1:5000"):
        assert is_allowed_host_header(read["allowed_hosts"].split(","), called)
    assert not is_allowed_host_header(read["allowed_hosts"].split(","), "elsewhere.example.org")
    (volume,) = SERVICES["mlflow"]["volumes"]
    assert read["artifacts_destination"].startswith(volume.partition(":")[2])


def test_prefects_server_takes_its_options() -> None:
    known = {
        name for one in inspect.signature(start).parameters.values() for name in one.annotation.__metadata__[0].name
    }
    assert set(options("prefect")) <= known
    assert SERVICES["prefect"]["environment"]["PREFECT_UI_API_URL"] == "http://localhost:4200/api"
    assert SERVICES["worker"]["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"


def test_job_runners_of_mlflow_are_off() -> None:
    assert SERVICES["mlflow"]["environment"]["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


@pytest.mark.parametrize("service", ["mlflow", "prefect", "worker"])
def test_every_variable_is_one_that_its_program_reads(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (backend,) = (option.envvar for option in server.params if option.name == "backend_store_uri")
    known = {backend, "DO_NOT_TRACK", *vars(mlflow.environment_variables), *SET_BY_US}
    for name, value in SERVICES[service]["environment"].items():
        if name.startswith("PREFECT_"):
            monkeypatch.setenv(name, value)
            read = Settings().to_environment_variables(exclude_unset=True, include_secrets=True).values()
            assert value.lower() in {text.lower() for text in read}, name
        else:
            assert name in known or name.startswith("AWS_"), name


def test_the_databases_are_made_and_their_password_stands_in_no_command() -> None:
    made = [SERVICES["postgres"]["environment"]["POSTGRES_DB"]]
    made += re.findall(
        r"CREATE DATABASE (\w+);", yaml.safe_load(COMPOSE.read_text())["configs"]["databases"]["content"]
    )
    addresses = [
        SERVICES["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"],
        SERVICES["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"],
    ]
    assert [address.rpartition("/")[2] for address in addresses] == made == ["mlflow", "prefect"]
    assert all("${POSTGRES_PASSWORD}@postgres:5432/" in address for address in addresses)
    assert not any("PASSWORD" in service.get("command", "") for service in SERVICES.values())
