"""Ports, servers, and runs that hold a workspace or were cut off."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from eyas.operations.doctor.finding import Finding
from eyas.storage import redact

PORTS = {5000: "MLflow", 4200: "Prefect", 5433: "PostgreSQL"}
OPTIONS = {5000: "--mlflow-port", 4200: "--prefect-port", 5433: "--postgres-port"}
SERVERS = {"PREFECT_API_URL": "/health", "MLFLOW_TRACKING_URI": "/health"}
OWNER = "run.owner"
ANSWER_SECONDS = 5.0


def look_at_ports(_: Path) -> Iterator[Finding]:
    """Whether the ports of the servers are free, or who holds them."""
    for port, use in PORTS.items():
        with socket.socket() as probe:
            taken = probe.connect_ex(("127.0.0.1", port)) == 0
        if taken:
            advice = f"choose another with {OPTIONS[port]}, or end what holds it"
            yield Finding(f"port {port}", "note", f"({use}) is held by {_holder(port)}", advice)
        else:
            yield Finding(f"port {port}", "good", f"({use}) is free")


def _holder(port: int) -> str:
    """The program that listens, where this user may know it."""
    import psutil

    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        try:
            if any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in process.net_connections()):
                words = " ".join(process.info["cmdline"] or ())[:60]
                return f"process {process.info['pid']} ({redact(words) or process.info['name']})"
        except psutil.Error:
            continue
    return "a process of another user"


def look_at_servers(_: Path) -> Iterator[Finding]:
    """Those that the environment names."""
    for variable, page in SERVERS.items():
        address = os.environ.get(variable)
        if not address:
            yield Finding(variable, "good", "not set: a run uses what lies in .eyas")
        elif not address.startswith("http"):
            yield Finding(variable, "good", redact(address))
        elif error := _fault(address.rstrip("/") + page):
            advice = f"start the server, or correct or unset {variable}"
            yield Finding(variable, "fault", f"{redact(address)} does not answer ({redact(error)})", advice)
        else:
            yield Finding(variable, "good", f"{redact(address)} answers")


def _fault(page: str) -> str:
    try:
        with urllib.request.urlopen(page, timeout=ANSWER_SECONDS):  # noqa: S310
            return ""
    except urllib.error.HTTPError:
        return ""  # it answers, if not to everyone
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))


def look_at_runs(project: Path) -> Iterator[Finding]:
    """Who holds a workspace, and locks that a killed run left."""
    from filelock import FileLock, Timeout

    owners = [project / ".eyas" / OWNER, *sorted(project.glob(f"workspaces/*/.eyas/{OWNER}"))]
    held = []
    for owner in (path for path in owners if path.exists()):
        try:
            with FileLock(owner.with_name("run.lock"), timeout=0):
                pass
        except Timeout:
            profile = "default" if owner == owners[0] else owner.parent.parent.name
            held.append(f"{profile} (process {owner.read_text().strip()})")
    if held:
        yield Finding(
            "runs", "note", f"at work: {', '.join(held)}", "another run of the same profile waits with --wait"
        )
    else:
        yield Finding("runs", "good", "none at work")
    stale = project / ".eyas/servers/postgres/postmaster.pid"
    if stale.exists() and not _alive(stale.read_text().split("\n", 1)[0]):
        yield Finding("postgres", "note", "was cut off and left its process file", f"rm {stale}")


def _alive(pid: str) -> bool:
    import psutil

    return pid.strip().isdigit() and psutil.pid_exists(int(pid))
