"""Commands that keep something running: ``serve``, ``deploy``, ``servers`` and ``ui``."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.interruption import Interruption
from eyas.cli.options import LAST_PORT, MlflowPort, ParamsFile, PrefectPort, port
from eyas.cli.project import hand_over


def serve(
    *,
    params: ParamsFile = None,
    prefect_port: PrefectPort = 4200,
    webhook_port: Annotated[int | None, port("Answer POST /retrain and /adapt on this port.")] = None,
) -> int:
    """Run schedules (and a webhook) on this machine.

    \b
    Examples:
      eyas serve
      EYAS_WEBHOOK_SECRET=... eyas serve --webhook-port 8900
    """
    _close_in_peace()
    return hand_over("serve", params, prefect_port, webhook_port)


def deploy(*, params: ParamsFile = None) -> int:
    """Put prefect.yaml's deployments on a Prefect server.

    \b
    Examples:
      PREFECT_API_URL=http://prefect.example.org:4200/api eyas deploy
    """
    return hand_over("deploy", params)


def servers(
    *,
    database: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="postgresql://user:password@host:port, not a private one.")
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(metavar="PLACE", help="MLflow's artifacts: a folder or s3://bucket/prefix.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", resolve_path=True, help="Database and artifacts [default: the project's .eyas/servers]."
        ),
    ] = None,
    postgres_port: Annotated[int, port("Of the private PostgreSQL.")] = 5433,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="No worker on this machine.")] = False,
    mlflow_port: MlflowPort = 5000,
    prefect_port: PrefectPort = 4200,
) -> int:
    """Start PostgreSQL, MLflow, Prefect and a worker here.

    \b
    Examples:
      eyas servers
      eyas servers --database postgresql://user:password@host:5432 \\
        --artifacts s3://bucket/mlflow
    """
    if artifacts and "://" not in artifacts:
        artifacts = str(Path(artifacts).resolve())
    ports = {"postgres_port": postgres_port, "mlflow_port": mlflow_port, "prefect_port": prefect_port}
    _close_in_peace()
    return hand_over("servers", state, database=database, artifacts=artifacts, ports=ports, worker=not no_worker)


def ui(
    *,
    first: Annotated[
        int | None,
        typer.Option(
            "--port", min=1, max=LAST_PORT - 1, metavar="PORT", help="Of MLflow's pages; the next is Prefect's."
        ),
    ] = None,
    mlflow_port: Annotated[int | None, port("Of MLflow's pages [default: 5000].")] = None,
    prefect_port: Annotated[int | None, port("Of Prefect's pages [default: 4200].")] = None,
) -> int:
    """Show MLflow's and Prefect's pages of the runs.

    \b
    Examples:
      eyas ui
      eyas ui --port 5001    # MLflow's on 5001, Prefect's on 5002
      eyas ui --mlflow-port 5001
    """
    _close_in_peace()
    mlflow, prefect = (first, first + 1) if first else (5000, 4200)
    return hand_over("ui", mlflow_port or mlflow, prefect_port or prefect)


def _close_in_peace() -> None:
    """Servers are stopped by Ctrl-C as a rule, and take their time; a second one still ends them at once."""
    command = Interruption.current()
    if command:
        command.patience = None
