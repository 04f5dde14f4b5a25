"""What ends a command before its time: it takes seconds, leaves no process, and one line says how to go on."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from eyas.cli.interruption import Interruption, Stopped, uninterrupted
from eyas.cli.program import program
from tests.cli.test_command import project, start

__all__ = ["project"]
WAITING = """
import subprocess, sys, time
def wait():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    time.sleep(100)
"""
NOTHING_TO_CLOSE = """
def run(*_, **__):
    wait()
"""
CONVERTS = """
def run(*_, **__):
    from eyas.cli.interruption import Interruption
    Interruption.current().patience = 5.0
    try:
        wait()
    except KeyboardInterrupt as error:
        raise ValueError("too many values to unpack") from error
"""
SWALLOWS = """
def run(*_, **__):
    from eyas.cli.interruption import Interruption
    Interruption.current().patience = 2.0
    for _ in range(3):
        try:
            wait()
        except BaseException:
            pass
"""
CLOSES_SLOWLY = """
def run(*_, **__):
    from eyas.cli.interruption import Interruption
    Interruption.current().patience = 60
    try:
        wait()
    finally:
        print("closing", flush=True)
        time.sleep(100)
"""
WRITES = """
def run(*_, **__):
    import threading
    from eyas.cli.interruption import Interruption, uninterrupted
    command = Interruption.current()
    command.patience = 60
    def tell():
        while not command.stopped:
            time.sleep(0.01)
        print("held back", flush=True)
    threading.Thread(target=tell, daemon=True).start()
    with uninterrupted():
        try:
            wait()
        except KeyboardInterrupt:
            print("in the middle", flush=True)
            raise
"""
LOSES = """
def run(*_, **__):
    import threading
    from eyas.cli.interruption import Interruption
    threading.Timer(0.1, Interruption.current().lose, ["MLflow at http://me:secretword@host is lost"]).start()
    wait()
"""
SERVES = """
def servers(*_, **__):
    from eyas.cli.interruption import Interruption
    assert Interruption.current().patience is None
    try:
        wait()
    except KeyboardInterrupt:
        time.sleep(4)
        print("stopped in peace", flush=True)
        return 0
"""


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    """Signals as a terminal has them: a suite that was started by ``nohup`` hands an ignored SIGHUP on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def write(project: Path, body: str) -> None:
    (project / "flows" / "commands.py").write_text(WAITING + body)


def child_of(process: "subprocess.Popen[str]") -> psutil.Process:
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def is_gone(child: psutil.Process) -> bool:
    deadline = time.monotonic() + 5
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def called(project: Path) -> str:
    return shlex.join(program(project))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("body", [NOTHING_TO_CLOSE, CONVERTS, SWALLOWS], ids=["at once", "converted", "swallowed"])
def test_a_signal_ends_a_command_whatever_a_library_makes_of_it(
    project: Path, body: str, number: signal.Signals
) -> None:
    write(project, body)
    arguments = ["run", "--set", "notify.url=http://me:secretword@host/x y", "--wait"]
    with start(project, *arguments) as process:
        child = child_of(process)
        process.send_signal(number)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 10  # 2 seconds and what a busy machine adds
    assert process.returncode == 130
    assert errors.startswith(f"stopped; go on with: {called(project)} run --set ")
    assert errors.count("\n") == 1
    assert "secretword" not in errors
    if body is CONVERTS:  # nobody closed what it had started
        child.kill()
    assert is_gone(child)


def test_the_printed_command_can_be_pasted(project: Path) -> None:
    write(project, CONVERTS)
    arguments = ["run", "--set", "register.model=a 'b' $c", "--name", "x"]
    with start(project, *arguments) as process:
        child = child_of(process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    child.kill()
    assert shlex.split(errors.partition("go on with: ")[2]) == [*program(project), *arguments]


@pytest.fixture
def handler() -> Interruption:
    handler = Interruption(["eyas", "run"])
    handler.patience = None  # else the watchdog would end pytest
    handler.install()
    return handler


@pytest.mark.usefixtures("handler")
def test_what_is_being_written_is_written_to_its_end() -> None:
    written = []

    def write() -> None:
        with uninterrupted():
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGTERM)
                written.append("inner")
            written.append("outer")

    with pytest.raises(Stopped):
        write()
    assert written == ["inner", "outer"]


@pytest.mark.usefixtures("handler")
def test_a_signal_that_a_library_lost_is_raised_by_the_next_record() -> None:
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
    written = []

    def write() -> None:
        with uninterrupted():
            written.append("a record")

    with pytest.raises(Stopped):
        write()
    assert not written


@pytest.mark.usefixtures("handler")
def test_a_signal_that_came_before_an_error_is_not_lost() -> None:
    def write() -> None:
        with uninterrupted():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("not taken")

    with pytest.raises(Stopped) as stopped:
        write()
    assert isinstance(stopped.value.__context__, ValueError)


def test_a_record_that_takes_too_long_is_stopped_in_its_middle(project: Path) -> None:
    write(project, WRITES)
    with start(project, "run") as process:
        child = child_of(process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    child.kill()
    assert (process.returncode, output, errors) == (
        130,
        "held back\nin the middle\n",
        f"stopped; go on with: {called(project)} run\n",
    )


def test_a_second_ctrl_c_does_not_wait_for_a_record(project: Path) -> None:
    write(project, WRITES)
    with start(project, "run") as process:
        child = child_of(process)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "held back\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, "", f"stopped; go on with: {called(project)} run\n")
    assert is_gone(child)


def test_a_second_ctrl_c_ends_all_at_once(project: Path) -> None:
    write(project, CLOSES_SLOWLY)
    with start(project, "run") as process:
        child = child_of(process)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "closing\n"
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 5
    assert (process.returncode, errors) == (130, f"stopped; go on with: {called(project)} run\n")
    assert is_gone(child)


def test_a_lost_server_is_a_failure_with_its_name(project: Path) -> None:
    write(project, LOSES)
    with start(project, "run") as process:
        child = child_of(process)
        _, errors = process.communicate(timeout=30)
    child.kill()
    assert (process.returncode, errors) == (
        1,
        f"error: MLflow at http://host is lost; go on with: {called(project)} run\n",
    )


def test_servers_are_given_the_time_that_they_take(project: Path) -> None:
    write(project, SERVES)
    with start(project, "servers") as process:
        child = child_of(process)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=30)
    child.kill()
    assert (process.returncode, output, errors) == (0, "stopped in peace\n", "")


def test_what_nohup_started_outlives_its_terminal() -> None:
    code = (
        "import os, signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from eyas.cli.interruption import Interruption; Interruption(['eyas']).install()\n"
        "os.kill(os.getpid(), signal.SIGHUP); print('here')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout == "here\n"


def test_no_command_has_no_handler() -> None:
    assert Interruption.current() is None
    with uninterrupted():
        pass


def test_the_command_knows_its_handler(handler: Interruption) -> None:
    assert Interruption.current() is handler
    with pytest.raises(Stopped, match="stopped by SIGTERM") as stopped:
        os.kill(os.getpid(), signal.SIGTERM)
    assert stopped.value.status == 130
