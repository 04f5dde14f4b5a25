"""What each command of ``python -m flows`` does; heavy imports wait until a command needs them."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import ROOT

if TYPE_CHECKING:
    from tasks.workspace import Workspace


def _checked(options: argparse.Namespace) -> "Workspace":
    """The workspace; a wrong parameter must not wait for Prefect to start."""
    from tasks.workspace import open_workspace

    return open_workspace(ROOT, Path(options.params).resolve(), options.set, name=options.name)


def _check_architecture(workspace: "Workspace") -> None:
    """A name that ``models/`` does not have is refused before anything starts."""
    import models
    from eyas.errors import ParameterError

    name = workspace.params.baseline.architecture
    if ":" not in name and name not in models.names():
        available = ", ".join(models.names())
        msg = f"baseline.architecture: {name!r} is not in models/ ({available}), and is no package.module:factory"
        raise ParameterError(msg)


def _relative(path: str) -> str:
    """As the flows take it: a deployment on another machine has another checkout."""
    return os.path.relpath(Path(path).resolve(), ROOT)


def run(options: argparse.Namespace) -> int:
    """Bring a profile up to date and print the result."""
    workspace = _checked(options)
    _check_architecture(workspace)
    if not options.wait:
        workspace.refuse_if_busy()
    from flows.pipeline import pipeline
    from tasks.report import print_summary

    outcome = pipeline(
        _relative(options.params),
        options.set,
        options.name,
        wait=options.wait,
        register=not options.no_register,
    )
    print_summary(workspace, outcome.version, outcome.run_id)
    return 0


def retrain(options: argparse.Namespace) -> int:
    """Run the pipeline only if something changed since the champion was made."""
    _checked(options)
    from flows.retrain import as_json
    from flows.retrain import retrain as flow

    decision = flow(_relative(options.params), options.set, options.name, options.reason, force=options.force)
    if options.json:
        print(json.dumps(as_json(decision), indent=2))
    else:
        print(f"{'retrained' if decision.ran else 'nothing to do'}: {decision.reason}")
    return 0


def promote(options: argparse.Namespace) -> int:
    """Let the gates decide on a version."""
    _checked(options)
    from flows.promote import promote as flow

    decision = flow(_relative(options.params), options.set, options.name, options.version, options.force)
    print(decision.message)
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Make the previous champion the champion again."""
    _checked(options)
    from flows.rollback import rollback as flow

    print(flow(_relative(options.params), options.set, options.name, options.reason))
    return 0


def status(options: argparse.Namespace) -> int:
    """Champion, previous, candidate, the last runs, and why."""
    from tasks.promote import status_lines

    print("\n".join(status_lines(_checked(options))))
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """What it takes to make a version again, each part verified; 1 where something is missing."""
    from tasks.reproduce import reproduce as look

    found = look(_checked(options), options.version)
    print(json.dumps(found.as_dict(), indent=2) if options.json else "\n".join(found.lines()))
    return 0 if found.ready else 1


def inspect(options: argparse.Namespace) -> int:
    """The search space of a network."""
    from flows.inspection import inspect as show

    return show(options)


def serve(options: argparse.Namespace) -> int:
    """Run schedules and the webhook on this machine."""
    from flows.serve import serve_schedules

    return serve_schedules(Path(options.params).resolve(), options.prefect_port, options.webhook_port)


def deploy(options: argparse.Namespace) -> int:
    """Put the deployments on a Prefect server."""
    from flows.serve import deploy as put

    return put(Path(options.params).resolve())


def servers(options: argparse.Namespace) -> int:
    """Start PostgreSQL, MLflow, Prefect and a worker."""
    from flows.operate import serve_all

    ports = {name: getattr(options, name) for name in ("postgres_port", "mlflow_port", "prefect_port")}
    return serve_all(
        Path(options.state).resolve(), options.database, options.artifacts, ports, worker=not options.no_worker
    )


def ui(options: argparse.Namespace) -> int:
    """Serve MLflow's and Prefect's pages until Ctrl-C."""
    from flows.ui import serve_pages

    return serve_pages(options.mlflow_port, options.prefect_port)
