"""A run that is stopped, or that loses its server: seconds, one line, nothing left running; the next goes on."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.conftest import TINY, Checkout

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
LONG = TINY.replace("epochs: 8", "epochs: 2000")
BUSY_SECONDS = 10
"""Three seconds, and what a busy machine adds."""


@pytest.fixture
def long_run(checkout: Checkout) -> Iterator["subprocess.Popen[str]"]:
    """``eyas run`` in a session of its own, as a terminal has, in the middle of training the dense network."""
    (checkout.folder / "params.yaml").write_text(LONG)
    command = [sys.executable, "-m", "flows", "run", "--verbose"]
    log = checkout.folder / "run.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=checkout.folder, env=checkout.environment, text=True, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
    with process:
        try:
            wait_until(lambda: len(re.findall(r"epoch \d+/2000: ", log.read_text())) > 1, process, log)
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    (checkout.folder / "params.yaml").write_text(TINY)


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]", log: Path) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)


def last_lines(checkout: Checkout, count: int) -> list[str]:
    return (checkout.folder / "run.log").read_text().splitlines()[-count:]


def unfinished(checkout: Checkout) -> dict[str, list[tuple[str, ...]]]:
    """Runs that a record still takes for running."""
    queries = {
        "prefect/prefect.db": [
            f"select name, state_type from {table} where state_type in ('RUNNING', 'PENDING')"
            for table in ("flow_run", "task_run")
        ],
        "mlflow.db": ["select run_uuid, status from runs where status = 'RUNNING'"],
    }
    left: dict[str, list[tuple[str, ...]]] = {}
    for file, asked in queries.items():
        with sqlite3.connect(checkout.folder / ".eyas" / file) as connection:
            left[file] = [row for query in asked for row in connection.execute(query)]
    return left


NONE = {"prefect/prefect.db": [], "mlflow.db": []}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "SIGTERM"])
def test_a_stopped_run_leaves_one_line_and_nothing_running(
    checkout: Checkout, long_run: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    children = psutil.Process(long_run.pid).children(recursive=True)
    before = len((checkout.folder / "run.log").read_text().splitlines())
    os.killpg(long_run.pid, number)
    begin = time.monotonic()
    assert long_run.wait(60) == 130
    assert time.monotonic() - begin < BUSY_SECONDS
    after = (checkout.folder / "run.log").read_text().splitlines()[before:]
    lines = [line for line in after if " | baseline | " not in line and "epoch" not in line]
    (line,) = lines if len(lines) == 1 else ["\n".join(lines)]  # which shows what else was printed
    assert re.fullmatch(r"stopped; go on with: (\S+/)?eyas run --verbose", line)
    assert not psutil.wait_procs(children, timeout=10)[1]
    assert unfinished(checkout) == NONE


def test_a_run_that_lost_its_server_says_so_and_the_next_one_goes_on(
    checkout: Checkout, long_run: "subprocess.Popen[str]"
) -> None:
    children = psutil.Process(long_run.pid).children(recursive=True)
    (server,) = [child for child in children if "eyas.operations.servers.temporary_prefect" in child.cmdline()]
    server.kill()
    begin = time.monotonic()
    assert long_run.wait(120) == 1
    assert time.monotonic() - begin < 60 + BUSY_SECONDS
    (line,) = last_lines(checkout, 1)
    assert line.startswith("error: Prefect's temporary server is lost: it does not answer (")
    assert re.search(r"; go on with: (\S+/)?eyas run --verbose$", line)
    assert not psutil.wait_procs(children, timeout=10)[1]
    (checkout.folder / "params.yaml").write_text(TINY)
    printed = checkout.run("flows", "run", timeout=600)
    assert re.search(r"^fetch +\S+ unchanged", printed, re.MULTILINE)
    assert unfinished(checkout) == NONE


def test_a_refusal_is_one_line(checkout: Checkout) -> None:
    """After the test above, whose version is the first: there is no champion to go back to."""
    printed = checkout.run("flows", "rollback", status=3)
    assert printed == "error: tiny: no previous champion to go back to (champion: none)\n"
    printed = checkout.run("flows", "promote", "--version", "9", status=2)
    assert printed == "error: tiny has no version 9; registered versions: 1\n"
