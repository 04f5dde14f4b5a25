"""All servers on one machine: PostgreSQL, MLflow, Prefect and a worker (``make servers``)."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eyas.errors import EyasError
from eyas.operations.servers.postgres import create_databases, server_of, start_postgres
from eyas.operations.servers.processes import Servers, last_line, require_free, start_mlflow, start_prefect

POOL = "eyas"


@dataclass(frozen=True)
class Addresses:
    """Where the servers answer; what clients put into their environment."""

    mlflow: str
    prefect_api: str

    def environment(self) -> dict[str, str]:
        """The variables that move a run from the embedded defaults to these servers."""
        return {"MLFLOW_TRACKING_URI": self.mlflow, "PREFECT_API_URL": self.prefect_api}


def start_all(
    servers: Servers,
    state: Path,
    *,
    database: str | None = None,
    artifacts: str | None = None,
    postgres_port: int = 5433,
    mlflow_port: int = 5000,
    prefect_port: int = 4200,
    environment: Mapping[str, str] | None = None,
) -> Addresses:
    """Start what a team needs on one machine.

    Args:
        servers: owns the processes.
        state: folder for the database and for artifacts.
        database: ``postgresql://user:password@host:port`` of a server that is there already.
        artifacts: folder or ``s3://bucket/prefix``; MLflow's server reads and writes it for its clients.
        postgres_port: of the private PostgreSQL, when ``database`` is not given.
        mlflow_port: of MLflow's server.
        prefect_port: of Prefect's server.
        environment: more variables for the servers (``AWS_*``, ``MLFLOW_S3_ENDPOINT_URL``).

    Raises:
        BadInputError: a port is taken, or ``database`` is no address of a server.
        MissingExtraError: PostgreSQL is not installed and no address was given.
        EyasError: a server did not start; the message holds the end of its log.
    """
    variables = dict(environment or {})
    require_free({"--mlflow-port": mlflow_port, "--prefect-port": prefect_port})
    if database:
        place = server_of(database)
        create_databases(place)
    else:
        require_free({"--postgres-port": postgres_port})
        place = start_postgres(servers, state / "postgres", postgres_port)
    store = f"postgresql+psycopg2://{place}/mlflow"
    mlflow = start_mlflow(servers, mlflow_port, store, artifacts or str(state / "mlartifacts"), variables)
    own = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{place}/prefect"}
    api = start_prefect(servers, prefect_port, {**variables, **own})
    return Addresses(mlflow, api)


def start_worker(servers: Servers, addresses: Addresses, environment: Mapping[str, str] | None = None) -> None:
    """Make the process work pool and start a worker on it."""
    checkout = str(servers.checkout)
    variables = {**(environment or {}), **addresses.environment(), "PYTHONPATH": checkout, "EYAS_CHECKOUT": checkout}
    make_pool(servers.checkout, variables)
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    servers.start("worker", command, variables)


def make_pool(checkout: Path, environment: Mapping[str, str]) -> None:
    """Make the process work pool on the server of ``PREFECT_API_URL``; one that is there stays as it is.

    Raises:
        EyasError: Prefect refused; its own words are in the message.
    """
    command = [sys.executable, "-m", "prefect", "work-pool", "create", POOL, "--type", "process"]
    variables = {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=checkout, check=False)
    output = (done.stdout + done.stderr).strip()
    if done.returncode and "already exists" not in output:
        msg = f"the work pool {POOL!r} could not be made: {last_line(output)}"
        raise EyasError(msg)


def serve_all(
    checkout: Path,
    state: Path,
    *,
    database: str | None,
    artifacts: str | None,
    ports: Mapping[str, int],
    worker: bool = True,
) -> int:
    """Start all, print what to export, wait for Ctrl-C."""
    with Servers(checkout) as servers:
        addresses = start_all(servers, state, database=database, artifacts=artifacts, environment=None, **ports)
        if worker:
            start_worker(servers, addresses)
        lines = [f"export {name}={value}" for name, value in addresses.environment().items()]
        sys.stdout.write("\n".join([*lines, f"logs in {servers.logs}; Ctrl-C stops all.", ""]))
        sys.stdout.flush()
        servers.wait()
    return 0
