"""Prefect's server for one command: it answers, Ctrl-C in the terminal does not reach it, it outlives nobody."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from eyas.operations.servers.processes import Servers
from eyas.operations.servers.temporary_prefect import NAME, start_temporary_prefect, wait_for_prefect

START = """
import json, pathlib, sys, time
from eyas.operations.servers.processes import Servers
from eyas.operations.servers.temporary_prefect import NAME, start_temporary_prefect, wait_for_prefect

with Servers(pathlib.Path(sys.argv[1])) as servers:
    api = start_temporary_prefect(servers)
    wait_for_prefect(servers, api)
    print(json.dumps([api, servers.processes[NAME].pid]), flush=True)
    time.sleep(100)
"""


def answers(api: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=2) as page:
            return page.status == 200
    except (OSError, urllib.error.URLError):
        return False


def test_it_has_a_session_of_its_own_and_ends_with_a_killed_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    command = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        api, pid = json.loads(parent.stdout.readline())
        assert answers(api)
        assert os.getsid(pid) == pid
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while answers(api) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not answers(api)


def test_it_is_stopped_when_its_context_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with Servers(tmp_path) as servers:
        api = start_temporary_prefect(servers)
        wait_for_prefect(servers, api)
        process = servers.processes[NAME]
    assert process.poll() is not None
    assert not answers(api)
