"""Start the servers a run can use (PostgreSQL, MLflow, Prefect, a worker) as child processes, and stop them again."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from eyas.errors import BadInputError, EyasError

STARTUP_SECONDS = 120
STOP_SECONDS = 20
LOG_TAIL_LINES = 15
STORE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"


class Servers(contextlib.ExitStack):
    """Child processes with their logs; leaving the context stops them, the last started first.

    Args:
        checkout: where they run; logs go to ``.eyas/logs`` there.
    """

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        self.checkout, self.logs = checkout, checkout / ".eyas" / "logs"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.stop_signals: dict[str, signal.Signals] = {}
        self.logs.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str] | None = None,
        *,
        page: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Start a process; with ``page``, return once that address answers.

        Raises:
            EyasError: it ended or did not answer in time; the message holds the end of its log.
        """
        log = self.enter_context((self.logs / f"{name}.log").open("ab"))
        process = subprocess.Popen(
            command,
            cwd=self.checkout,
            env={**os.environ, **(environment or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.processes[name], self.stop_signals[name] = process, stop_signal
        self.callback(lambda: stop(process, self.stop_signals[name]))
        if page:
            self.wait_for_page(name, page)

    def wait_for_page(self, name: str, page: str) -> None:
        """Until a server answers at an address.

        Raises:
            EyasError: it ended or did not answer in time; the message holds the end of its log.
        """
        process, deadline = self.processes[name], time.monotonic() + STARTUP_SECONDS
        while not _answers(page):
            if process.poll() is not None or time.monotonic() > deadline:
                happened = "ended" if process.poll() is not None else f"did not answer within {STARTUP_SECONDS} s"
                msg = f"{name} {happened}; the end of {self.logs / name}.log:\n{self.tail(name)}"
                raise EyasError(msg)
            time.sleep(0.1)

    def tail(self, name: str) -> str:
        """The last lines of a server's log."""
        lines = (self.logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def wait(self) -> None:
        """Until one of them ends, or Ctrl-C.

        Raises:
            EyasError: a server ended by itself.
        """
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                for name, process in self.processes.items():
                    if process.poll() is not None:
                        msg = f"{name} ended with status {process.returncode}:\n{self.tail(name)}"
                        raise EyasError(msg)
                time.sleep(0.5)


def stop(process: subprocess.Popen[bytes], politely: signal.Signals = signal.SIGTERM) -> None:
    """End a process and its children: politely first."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, politely)
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def require_free(ports: Mapping[str, int]) -> None:
    """Refuse ports that are taken, by the option that sets them.

    Raises:
        BadInputError: names the port and the option.
    """
    for option, port in ports.items():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                msg = f"port {port} is taken: choose another with {option}"
                raise BadInputError(msg)


def start_mlflow(servers: Servers, port: int, store: str, artifacts: str, environment: Mapping[str, str]) -> str:
    """MLflow's server on ``store``, keeping artifacts itself; returns its address.

    The store's address may hold a password, which every user of the machine could read on a command line.
    """
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += ["--artifacts-destination", artifacts, "--workers", "1"]
    servers.start("mlflow", command, {**environment, STORE_VARIABLE: store}, page=f"{address}/health")
    return address


def start_prefect(servers: Servers, port: int, environment: Mapping[str, str]) -> str:
    """Prefect's server; returns the address of its API."""
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    own = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_UI_API_URL": f"http://127.0.0.1:{port}/api"}
    servers.start("prefect", command, {**environment, **own}, page=f"http://127.0.0.1:{port}/api/health")
    return own["PREFECT_API_URL"]


def last_line(text: str) -> str:
    """What a program said last, which is where a traceback has its error."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, urllib.error.URLError):
        return False
