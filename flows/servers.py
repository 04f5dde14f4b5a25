"""Start MLflow's and Prefect's pages as child processes and stop them again."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from eyas.errors import BadInputError, EyasError
from eyas.tracking import artifact_root, resolve_tracking_uri
from flows.environment import ROOT

STARTUP_SECONDS = 90


def serve_pages(mlflow_port: int, prefect_port: int) -> int:
    """Serve both pages on this machine until Ctrl-C; prints their addresses once they answer.

    Raises:
        BadInputError: a port is taken.
        EyasError: a server ended or did not answer in time.
    """
    for port, option in ((mlflow_port, "--mlflow-port"), (prefect_port, "--prefect-port")):
        _require_free(port, option)
    uri = resolve_tracking_uri(ROOT)
    python = [sys.executable, "-m"]
    mlflow = [
        *python,
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--default-artifact-root",
        artifact_root(ROOT),
    ]
    with contextlib.ExitStack() as stack:
        pages = {
            f"http://127.0.0.1:{mlflow_port}": _start(stack, [*mlflow, "--port", str(mlflow_port), "--workers", "1"]),
            f"http://127.0.0.1:{prefect_port}": _start(
                stack, [*python, "prefect", "server", "start", "--port", str(prefect_port), "--no-services"]
            ),
        }
        for address, process in pages.items():
            _wait(address, process)
        names = ("MLflow ", "Prefect")
        sys.stdout.write("".join(f"{name} {address}\n" for name, address in zip(names, pages, strict=True)))
        sys.stdout.write("Ctrl-C stops both.\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            while all(process.poll() is None for process in pages.values()):
                time.sleep(0.5)
    return 0


def _start(stack: contextlib.ExitStack, command: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _require_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            msg = f"port {port} is taken: choose another with {option}"
            raise BadInputError(msg)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Until the page answers."""
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            msg = f"the server of {address} ended with status {process.returncode}: {' '.join(map(str, process.args))}"  # type: ignore[arg-type]
            raise EyasError(msg)
        with contextlib.suppress(OSError, urllib.error.URLError):
            urllib.request.urlopen(address, timeout=2)  # noqa: S310
            return
        time.sleep(0.3)
    msg = f"{address} did not answer within {STARTUP_SECONDS} s"
    raise EyasError(msg)
