"""The whole operation on real servers: PostgreSQL, MLflow, Prefect with a worker, an S3 peer."""

import contextlib
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from eyas.operations.servers.postgres import find_programs
from eyas.operations.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from tests.integration.conftest import Checkout

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def free_ports(count: int) -> list[str]:
    """Below the range that outgoing connections take their ports from."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 30_000), 500):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            break
    return [str(port) for port in ports]


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """An S3 peer with a bucket; the variables that lead there."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    address = f"http://127.0.0.1:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    client.create_bucket(Bucket="eyas-artifacts")
    yield {**KEYS, "MLFLOW_S3_ENDPOINT_URL": address, "AWS_ENDPOINT_URL": address}
    server.stop()


@pytest.fixture(scope="module")
def servers(checkout: Checkout, s3: dict[str, str]) -> Iterator[dict[str, str]]:
    """``python -m flows servers``; yields what it says to export, and checks that stopping it leaves nothing."""
    postgres, mlflow, prefect = free_ports(3)
    command = [sys.executable, "-m", "flows", "servers", "--artifacts", "s3://eyas-artifacts/mlflow"]
    # The user postgres must reach the folder; pytest's own folders are closed to others.
    state = tempfile.mkdtemp(prefix="eyas-servers-")
    Path(state).chmod(0o755)
    command += ["--state", state, "--postgres-port", postgres, "--mlflow-port", mlflow, "--prefect-port", prefect]
    environment = {**checkout.environment, **s3}
    process = subprocess.Popen(
        command, cwd=checkout.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    with process, contextlib.ExitStack() as stack:
        stack.callback(process.send_signal, signal.SIGINT)
        exports: dict[str, str] = {}
        printed = []
        for line in process.stdout or ():
            printed.append(line)
            exports |= dict(re.findall(r"^export (\w+)=(\S+)", line))
            if "Ctrl-C" in line:
                break
        assert set(exports) == {"MLFLOW_TRACKING_URI", "PREFECT_API_URL"}, "".join(printed)
        yield exports
    assert process.returncode == 0
    shutil.rmtree(state)
    for port in (postgres, mlflow, prefect):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0, f"port {port} still answers"


def versions(servers: dict[str, str]) -> dict[str, str]:
    """Which version each alias names, asked of MLflow itself: ``eyas status`` takes seconds of both cores each time."""
    address = f"{servers['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/search"
    with urllib.request.urlopen(address, timeout=30) as answer:
        (model,) = json.load(answer).get("registered_models") or [{}]
    named = {entry["alias"]: entry["version"] for entry in model.get("aliases", [])}
    return {alias: named[alias] for alias in ("champion", "previous", "candidate") if alias in named}


def told_versions(checkout: Checkout, servers: dict[str, str]) -> dict[str, str]:
    """The same, by ``eyas status``."""
    printed = checkout.run("flows", "status", environment=servers)
    return dict(re.findall(r"^(champion|previous|candidate)\s+version (\d+)", printed, re.MULTILINE))


def wait_for_candidate(checkout: Checkout, servers: dict[str, str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while "candidate" not in versions(servers):
        assert time.monotonic() < deadline, worker_log(checkout)
        time.sleep(1)


def worker_log(checkout: Checkout) -> str:
    return "\n".join((checkout.folder / ".eyas/logs/worker.log").read_text().splitlines()[-80:])


def test_schedule_promotion_refusal_and_rollback(
    checkout: Checkout, servers: dict[str, str], s3: dict[str, str]
) -> None:
    params = checkout.folder / "params.yaml"
    without_schedule = params.read_text()
    params.write_text(without_schedule + "schedule: {interval_minutes: 1}\n")
    checkout.run("flows", "deploy", environment=servers)
    wait_for_candidate(checkout, servers, 300)

    # The schedule has done its work: take it away, as a user does.
    params.write_text(without_schedule)
    checkout.run("flows", "deploy", environment=servers)
    assert versions(servers) == {"candidate": "1"}

    printed = checkout.run("flows", "promote", environment=servers)
    assert "champion" in printed
    assert versions(servers)["champion"] == "1"

    # The scheduled run that made the candidate may still be publishing: wait for it.
    decision = checkout.run("flows", "retrain", "--set", "schedule.overlap=queue", environment=servers)
    assert "nothing to do" in decision

    worse = ["--set", "finetune.epochs=0", "--set", "sample.budget.macs=0.2", "--name", "worse"]
    checkout.run("flows", "run", *worse, environment=servers)
    refused = checkout.run("flows", "promote", "--version", "2", environment=servers, status=3)
    assert "refused" in refused
    assert versions(servers) == {"candidate": "1", "champion": "1"}  # of another budget, no other candidate

    checkout.run("flows", "promote", "--version", "2", "--force", "to see the way back", environment=servers)
    moved = {"candidate": "1", "champion": "2", "previous": "1"}
    assert versions(servers) == moved == told_versions(checkout, servers)
    checkout.run("flows", "rollback", "--reason", "it was worse", environment=servers)
    assert versions(servers)["champion"] == "1"

    client = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL"], aws_access_key_id="test",
                          aws_secret_access_key="test", region_name="us-east-1")  # fmt: skip
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="eyas-artifacts")["Contents"]]
    assert any(key.endswith("model.onnx") for key in keys)
    assert not (Path(checkout.folder) / ".eyas" / "mlflow.db").exists()


def test_a_signed_call_starts_a_retraining(checkout: Checkout, servers: dict[str, str]) -> None:
    """After the test above: nothing changed since the champion, and the retraining that was asked for says so."""
    (port,), secret = free_ports(1), "a secret of more than sixteen bytes"
    log = checkout.folder / "serve.log"
    command = [sys.executable, "-m", "flows", "serve", "--webhook-port", port]
    environment = {**checkout.environment, **servers, "EYAS_WEBHOOK_SECRET": secret}
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=checkout.folder, env=environment, stdout=file, stderr=file)
    try:
        wait_until(lambda: post(port, secret.encode(), b"not json") == 400, 120, log)
        assert post(port, b"another secret of enough bytes", b"{}") == 401
        assert post(port, secret.encode(), b"x" * 20_000) == 413
        told = checkout.folder / ".eyas" / "logs" / "webhook.log"  # the webhook is a process of its own
        ended = re.compile("nothing to do: nothing changed since tiny version 1|another run .* holds 'default'")
        # A last run of the schedule may hold the workspace: the caller is told, and asks again.
        for call in range(1, 4):
            assert post(port, secret.encode(), b'{"reason": "new labels"}') == 202
            wait_until(lambda asked=call: len(ended.findall(told.read_text())) == asked, 120, told)
            if "nothing to do" in told.read_text():
                break
            time.sleep(20)
        assert "nothing to do: nothing changed since tiny version 1" in told.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert secret not in log.read_text() + told.read_text()


def post(port: str, secret: bytes, body: bytes) -> int:
    """The status that a signed call is answered with; 0 without an answer."""
    now = int(time.time())
    headers = {TIMESTAMP_HEADER: str(now), SIGNATURE_HEADER: sign(secret, now, body)}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/retrain", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float, log: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(1)
