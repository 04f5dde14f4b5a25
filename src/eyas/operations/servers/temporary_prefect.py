"""Prefect's server for the length of one command, on a machine where no other is set.

Prefect would start one itself, but in the terminal's own process group: Ctrl-C ends it first, and the run then waits
minutes for a server that is gone. This one has a session of its own, ends with the process that started it however
that ends, and is up while that process still imports.
"""

import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from eyas.operations.servers.processes import Servers

NAME = "prefect-temporary"
POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 3600
"""Longer than most stages: a client that finds its connection closed tries again only after two seconds."""


def start_temporary_prefect(servers: Servers) -> str:
    """Start the server, without its pages, and return the address of its API at once.

    Wait for it with :func:`wait_for_prefect` before the first request.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    command = [sys.executable, "-m", __name__, str(port), str(os.getpid())]
    servers.start(NAME, command, environment, stop_signal=signal.SIGKILL)  # until it is up it holds nothing to save
    return f"http://127.0.0.1:{port}/api"


def wait_for_prefect(servers: Servers, api: str) -> None:
    """Until the temporary server answers.

    Raises:
        EyasError: it ended or did not answer in time; the message holds the end of its log.
    """
    servers.wait_for_page(NAME, f"{api}/health")
    servers.stop_signals[NAME] = signal.SIGTERM


def serve(port: int, parent: int) -> None:
    """Be the server, until told to end or until the process ``parent`` is gone, also while this one still imports."""
    running: list[Any] = []

    def end_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        if not running:
            os._exit(0)
        running[0].should_exit = running[0].force_exit = True

    threading.Thread(target=end_with_parent, daemon=True).start()
    from uvicorn import Config, Server

    app = "prefect.server.api.server:create_app"
    settings = Config(app, factory=True, port=port, log_level="error", timeout_keep_alive=KEEP_ALIVE_SECONDS)
    settings.load()
    running.append(Server(settings))
    running[0].run()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
