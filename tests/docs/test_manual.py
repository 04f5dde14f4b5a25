"""The commands of ``docs/operate.md`` for servers on several machines, against the installed programs."""

import re
import shlex
from pathlib import Path

import pytest
from mlflow.cli import server
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request
from prefect.settings.models.server.ui import ServerUISettings

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text()


def command(program: str) -> list[str]:
    """The words after a program's name in the manual, its continued lines as one."""
    (line,) = re.findall(rf"^ *{program} (--host.*)$", MANUAL.replace("\\\n", " "), re.MULTILINE)
    return shlex.split(line)


def test_mlflows_server_answers_workers_and_browsers_by_its_name() -> None:
    context = server.make_context("server", command("mlflow server"), resilient_parsing=True)
    read = context.params
    assert read["host"] == "0.0.0.0"
    hosts, origins = (read[name].split(",") for name in ("allowed_hosts", "cors_allowed_origins"))
    for called in ("mlflow.example.org", f"mlflow.example.org:{read['port']}"):
        assert is_allowed_host_header(hosts, called)
    assert not is_allowed_host_header(hosts, "elsewhere.example.org")
    assert not should_block_cors_request(f"http://mlflow.example.org:{read['port']}", "POST", origins)


def test_mlflows_database_is_named_in_the_environment() -> None:
    variable, address = re.findall(r"export (MLFLOW_BACKEND_STORE_URI)=(\S+)", MANUAL)[0]
    assert "--backend-store-uri" not in MANUAL
    (option,) = (option for option in server.params if option.name == "backend_store_uri")
    assert option.envvar == variable
    assert address.startswith("postgresql+psycopg2://")


def test_prefects_page_asks_the_address_that_browsers_know(monkeypatch: pytest.MonkeyPatch) -> None:
    variable, address = re.findall(r"export (PREFECT_UI_API_URL)=(\S+)", MANUAL)[0]
    monkeypatch.setenv(variable, address)
    assert ServerUISettings().api_url == address
    assert f"--port {address.split(':')[2].removesuffix('/api')}" in " ".join(command("prefect server start"))
