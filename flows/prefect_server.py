"""The Prefect server of a command: one that is set, or a temporary one that comes up while the command imports."""

import atexit
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.cli.interruption import Interruption
from eyas.errors import EyasError
from eyas.operations.servers.processes import Servers, last_line
from eyas.operations.servers.temporary_prefect import NAME, start_temporary_prefect, wait_for_prefect
from eyas.storage import redact
from eyas.storage.disk_space import describe_full_disk
from flows.environment import ROOT, configure

if TYPE_CHECKING:
    from tasks.workspace import Workspace

CLOSING_SECONDS = 9.0
"""What a flow that was stopped may take to end its stage and to close its records; supervisors kill after ten."""
ANSWER_SECONDS = 5.0
LOG_CHARACTERS = 4000
ENGINE_MODULES = ("flow_engine", "task_engine")
QUEUES = ("APILogWorker", "EventsWorker")
"""Loggers of what Prefect sends to its pages: at the end they count what is still to be sent."""


def begin_prefect() -> Callable[["Workspace"], None]:
    """Start a temporary server unless one is set; returns what to call before the first flow, which waits for it.

    It ends with this process, after Prefect has sent it the last of its logs.
    """
    if is_set():

        def ready(workspace: "Workspace") -> None:
            require_prefect()
            _attend(workspace, "Prefect")

        return ready
    servers = Servers(ROOT)
    atexit.register(servers.close)  # before Prefect is imported and registers its own: the last comes first
    api = start_temporary_prefect(servers)
    os.environ["PREFECT_API_URL"] = api
    configure()

    def up(workspace: "Workspace") -> None:
        wait_for_prefect(servers, api)
        _attend(workspace, "Prefect's temporary server")

    return up


def require_prefect() -> None:
    """See that the Prefect server answers, if one is set: a flow that meets none ends in a page of tracebacks.

    Raises:
        EyasError: it does not.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    address = PREFECT_API_URL.value()
    if not address:
        return
    with asked_once(), get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error:
        msg = (
            f"Prefect at {redact(address)} does not answer ({redact(last_line(str(error)) or type(error).__name__)}): "
            "start its server, or correct PREFECT_API_URL (unset, a run needs none)"
        )
        raise EyasError(msg)


@contextmanager
def asked_once() -> Iterator[None]:
    """A server that does not answer is not tried again, which would take minutes before anything has begun."""
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS}):
        yield


@contextmanager
def explained() -> Iterator[None]:
    """Where Prefect's server fails a flow, say so in a line, and why where its log knows.

    Raises:
        EyasError: it did.
    """
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        log = ROOT / ".eyas" / "logs" / f"{NAME}.log"
        tail = log.read_text(errors="replace")[-LOG_CHARACTERS:] if log.exists() else ""
        reason = describe_full_disk(OSError(tail)) or redact(last_line(str(error).split("\n", 1)[0]))
        msg = f"Prefect's server failed ({reason}); what the stages made is kept: repeat this once it is well"
        raise EyasError(msg) from None


def _attend(workspace: "Workspace", name: str) -> None:
    """From here on a flow runs: its log is short, its servers are watched, and stopping it does not take long."""
    from prefect.settings import PREFECT_API_URL

    from eyas.operations.tracking import tracking_uri
    from flows.server_watch import watch_servers

    _shorten_log()
    addresses = {name: f"{PREFECT_API_URL.value()}/ready"}
    mlflow = tracking_uri(workspace.root, workspace.params.runtime.tracking_uri)
    if mlflow.startswith("http"):
        addresses["MLflow"] = f"{mlflow.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    watch_servers(addresses)
    command = Interruption.current()
    if command:
        command.patience = CLOSING_SECONDS


def _shorten_log() -> None:
    """Keep what Prefect's engine says of states and hooks for Prefect's own pages: the command says how it ended."""
    import prefect.main  # noqa: F401
    from prefect.logging.handlers import PrefectConsoleHandler

    logging.raiseExceptions = False  # a log line that a lost server does not take
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(is_news)


def is_news(record: logging.LogRecord) -> bool:
    """Whether a line of a log is for the terminal: of Prefect's engine only that something is tried again."""
    return record.name not in QUEUES and (record.module not in ENGINE_MODULES or "Retry" in record.getMessage())


def is_set() -> bool:
    """Whether the environment, a profile of Prefect's, or this process names a server."""
    if "prefect" in sys.modules:
        from prefect.settings import PREFECT_API_URL

        return bool(PREFECT_API_URL.value())
    return "PREFECT_API_URL" in os.environ or Path(os.environ["PREFECT_HOME"], "profiles.toml").exists()
