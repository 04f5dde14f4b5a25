"""The Prefect server of a command: one that is set, or a temporary one that comes up while the command imports."""

import atexit
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from eyas.errors import EyasError
from eyas.operations.servers.processes import Servers, last_line
from eyas.operations.servers.temporary_prefect import start_temporary_prefect, wait_for_prefect
from flows.environment import ROOT, configure


def begin_prefect() -> Callable[[], None]:
    """Start a temporary server unless one is set; returns what to call before the first flow, which waits for it.

    It ends with this process, after Prefect has sent it the last of its logs.
    """
    if _is_set():
        return require_prefect
    servers = Servers(ROOT)
    atexit.register(servers.close)  # before Prefect is imported and registers its own: the last comes first
    api = start_temporary_prefect(servers)
    os.environ["PREFECT_API_URL"] = api
    configure()
    logging.getLogger("prefect.flow_runs").addFilter(lambda record: not record.getMessage().startswith("View at "))
    return lambda: wait_for_prefect(servers, api)


def require_prefect() -> None:
    """See that the Prefect server answers, if one is set: a flow that meets none ends in a page of tracebacks.

    Raises:
        EyasError: it does not.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    from eyas.storage import redact

    address = PREFECT_API_URL.value()
    if not address:
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error:
        msg = (
            f"Prefect at {redact(address)} does not answer ({redact(last_line(str(error)) or type(error).__name__)}): "
            "start its server, or correct PREFECT_API_URL (unset, a run needs none)"
        )
        raise EyasError(msg)


def _is_set() -> bool:
    """Whether the environment, a profile of Prefect's, or this process names a server."""
    if "prefect" in sys.modules:
        from prefect.settings import PREFECT_API_URL

        return bool(PREFECT_API_URL.value())
    return "PREFECT_API_URL" in os.environ or Path(os.environ["PREFECT_HOME"], "profiles.toml").exists()
