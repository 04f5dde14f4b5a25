"""Run schedules on this machine: a Prefect server (unless one is set), a runner, and the webhook endpoint."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from eyas.config import NotifyParams, PipelineParams, ScheduleParams, load_params
from eyas.errors import BadInputError, EyasError
from eyas.operations.servers.local_servers import POOL, make_pool
from eyas.operations.servers.processes import Servers, last_line, require_free, start_prefect
from eyas.operations.servers.webhook import SECRET_VARIABLE
from eyas.operations.signing import MIN_SECRET_BYTES
from eyas.storage import redact
from flows.environment import ROOT
from tasks.profile_name import DEFAULT, profile_of

PIPELINE, RETRAIN, ADAPT = "pipeline", "retrain", "adapt"
WEBHOOK = "eyas.operations.servers.webhook"


def serve_schedules(params_file: Path, prefect_port: int, webhook_port: int | None) -> int:
    """Serve retraining on the rhythm of ``schedule`` and adaptation on that of ``adapt.schedule`` until Ctrl-C.

    A restart does not pause the schedule. Runs that no worker takes, here or elsewhere on the server, are told as late.

    Raises:
        BadInputError: neither a rhythm nor a webhook is asked for; a port is taken; the secret is missing.
    """
    params = load_params(params_file)
    if not (params.schedule.has_rhythm or params.adapt.schedule.has_rhythm or webhook_port):
        msg = (
            f"nothing to serve: set schedule.cron or schedule.interval_minutes (or those of adapt.schedule) in "
            f"{params_file}, or give --webhook-port"
        )
        raise BadInputError(msg)
    if webhook_port:
        check_webhook_secret()
    with Servers(ROOT) as servers:
        if not os.environ.get("PREFECT_API_URL"):
            require_free({"--prefect-port": prefect_port})
            os.environ["PREFECT_API_URL"] = start_prefect(servers, prefect_port, {})
        if webhook_port:
            require_free({"--webhook-port": webhook_port})
            serve_webhook(servers, params_file, webhook_port)
        sys.stdout.write(f"Prefect  {redact(os.environ['PREFECT_API_URL']).removesuffix('/api')}\n")
        sys.stdout.flush()
        _watch(params.notify, _grace_minutes(params))
        _serve(params_file, params)
    return 0


def check_webhook_secret() -> None:
    """The webhook's process finds in its environment what the senders of calls share with it.

    Raises:
        BadInputError: the environment holds no secret, or a short one.
    """
    secret = os.environ.get(SECRET_VARIABLE, "").encode()
    if len(secret) < MIN_SECRET_BYTES:
        msg = f"set {SECRET_VARIABLE} to a secret of at least {MIN_SECRET_BYTES} bytes that the senders share"
        raise BadInputError(msg)


def serve_webhook(servers: Servers, params_file: Path, port: int) -> None:
    """Answer ``POST /retrain`` and ``/adapt`` in a process of its own; should that end, it is told, schedules go on."""
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", WEBHOOK, str(port), os.path.relpath(params_file, ROOT)]
    servers.start("webhook", command, page=f"{address}/health")
    threading.Thread(target=_tell_end, args=[servers], name="webhook", daemon=True).start()
    sys.stdout.write(f"webhook  {address}/retrain and {address}/adapt\n")


def _tell_end(servers: Servers) -> None:
    status = servers.processes["webhook"].wait()
    if status not in {0, -signal.SIGTERM}:
        sys.stderr.write(f"the webhook ended with status {status}; schedules go on:\n{servers.tail('webhook')}\n")


def _grace_minutes(params: PipelineParams) -> int:
    """The longest of what is served on a rhythm: one watch looks after all."""
    served = [one.grace_minutes for one in (params.schedule, params.adapt.schedule) if one.has_rhythm]
    return max(served, default=params.schedule.grace_minutes)


def _watch(notify: NotifyParams, grace_minutes: int) -> None:
    from flows.schedule_guard import Watch

    Watch(notify, grace_minutes).start()


def _serve(params_file: Path, params: PipelineParams) -> None:
    from prefect import serve

    from flows.adapt import adapt
    from flows.retrain import retrain

    parameters = {"params_file": os.path.relpath(params_file, ROOT)}
    named: dict[str, Any] = {"name": deployment_name("served", params_file), "tags": ["eyas"]}
    reason = parameters | {"reason": "schedule"}
    served: list[Any] = [retrain.to_deployment(**named, schedule=rhythm(params.schedule), parameters=reason)]
    if params.adapt.images:
        served.append(adapt.to_deployment(**named, schedule=rhythm(params.adapt.schedule), parameters=parameters))
    serve(*served, pause_on_shutdown=False, print_starting_message=False)


def deployment_name(kind: str, params_file: Path) -> str:
    """A name per profile, so that deploying or serving one does not replace another's: ``retrain-cifar10_resnet20``."""
    profile = profile_of(ROOT, params_file, ())
    return kind if profile == DEFAULT else f"{kind}-{profile}"


@contextmanager
def _prefect_file(params_file: Path) -> Iterator[Path]:
    """``prefect.yaml`` with the names of the profile's deployments."""
    content = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    for deployment in content["deployments"]:
        deployment["name"] = deployment_name(deployment["name"], params_file)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "prefect.yaml")
        path.write_text(yaml.safe_dump(content))
        yield path


def rhythm(schedule: ScheduleParams) -> Any:
    """Prefect's form of a schedule; None without one."""
    from datetime import timedelta

    from prefect.schedules import Cron, Interval

    if schedule.cron:
        return Cron(schedule.cron, timezone=schedule.timezone)
    if schedule.interval_minutes:
        return Interval(timedelta(minutes=schedule.interval_minutes), timezone=schedule.timezone)
    return None


def deploy(params_file: Path, environment: Mapping[str, str] | None = None) -> int:
    """Put the deployments of ``prefect.yaml`` on the server of ``PREFECT_API_URL``, with the present schedule.

    Raises:
        BadInputError: no server is set.
        EyasError: Prefect refused; its own words are in the message.
    """
    variables = {**os.environ, **(environment or {})}
    # Prefect would write this machine's path into the deployment; each worker is to fill in its own.
    variables.pop("EYAS_CHECKOUT", None)
    if not variables.get("PREFECT_API_URL"):
        msg = "set PREFECT_API_URL to the address of a Prefect server: schedules and workers need one"
        raise BadInputError(msg)
    params = load_params(params_file)
    rhythms = {PIPELINE: None, RETRAIN: params.schedule, ADAPT: params.adapt.schedule}
    make_pool(ROOT, variables)
    options = [f"--param=params_file={os.path.relpath(params_file, ROOT)}", "--pool", POOL]
    with _prefect_file(params_file) as file:
        for kind, schedule in rhythms.items():
            name = deployment_name(kind, params_file)
            command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", str(file)]
            command += ["-n", name, *options, *(_rhythm_options(schedule) if schedule else [])]
            done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
            if done.returncode:
                msg = f"prefect deploy -n {name} failed: {last_line(done.stderr or done.stdout)}"
                raise EyasError(msg)
    return 0


def _rhythm_options(schedule: ScheduleParams) -> list[str]:
    """A schedule that was removed from ``params.yaml`` is removed from the server too."""
    if schedule.cron:
        return ["--cron", schedule.cron, "--timezone", schedule.timezone]
    if schedule.interval_minutes:
        return ["--interval", str(60 * schedule.interval_minutes), "--timezone", schedule.timezone]
    return ["--empty-cron"]
