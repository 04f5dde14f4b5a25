"""What each command of ``python -m flows`` does; heavy imports wait until a command needs them."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import ROOT, require_prefect

if TYPE_CHECKING:
    from tasks.workspace import Workspace


def _checked(options: argparse.Namespace) -> "Workspace":
    """The workspace; a wrong parameter must not wait for Prefect to start."""
    from tasks.workspace import open_workspace

    return open_workspace(ROOT, Path(options.params).resolve(), options.set, name=options.name)


def _checked_or_told(options: argparse.Namespace) -> None:
    """What nobody watches, such as a call or CI, tells of its wrong parameters or no Prefect before it ends."""
    from eyas.errors import EyasError

    try:
        _checked(options)
        require_prefect()
    except EyasError as error:
        from flows.notify_hooks import tell_error

        tell_error("retrain", _relative(options.params), options.set, options.name, event="failed", message=str(error))
        raise


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
    require_prefect()
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
    _checked_or_told(options)
    from flows.retrain import as_json
    from flows.retrain import retrain as flow

    decision = flow(_relative(options.params), options.set, options.name, options.reason, force=options.force)
    if options.json:
        print(json.dumps(as_json(decision), indent=2))
    else:
        print(f"{'retrained' if decision.ran else 'nothing to do'}: {decision.reason}")
    return 0


def promote(options: argparse.Namespace) -> int:
    """Let the gates decide on a version; with ``--dry-run`` only say what they would."""
    workspace = _checked(options)
    if options.dry_run:
        from eyas.errors import RefusedError
        from tasks.promote import promote as judge

        report = Path(options.report) if options.report else None
        decision = judge(
            workspace, options.version, options.force, of_lock=options.of_lock, dry_run=True, report=report
        )
        print(decision.message)
        return 0 if decision.promoted else RefusedError.exit_status
    require_prefect()
    from flows.promote import promote as flow

    profile = _relative(options.params), options.set, options.name
    decision = flow(*profile, options.version, options.force, of_lock=options.of_lock, report=options.report)
    print(decision.message)
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Make the previous champion the champion again."""
    _checked(options)
    require_prefect()
    from flows.rollback import rollback as flow

    print(flow(_relative(options.params), options.set, options.name, options.reason))
    return 0


def status(options: argparse.Namespace) -> int:
    """Champion, previous, candidate, the last runs, and why; with a Prefect server, also runs that nobody takes."""
    from tasks.status import status_lines

    workspace = _checked(options)
    print("\n".join(status_lines(workspace)))
    if os.environ.get("PREFECT_API_URL"):
        from flows.schedule_guard import status_line

        late = status_line(workspace.params.schedule.grace_minutes)
        if late:
            print(late)
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

    require_prefect()
    return serve_schedules(Path(options.params).resolve(), options.prefect_port, options.webhook_port)


def deploy(options: argparse.Namespace) -> int:
    """Put the deployments on a Prefect server."""
    from flows.serve import deploy as put

    require_prefect()
    return put(Path(options.params).resolve())


def servers(options: argparse.Namespace) -> int:
    """Start PostgreSQL, MLflow, Prefect and a worker."""
    from eyas.operations.servers.local_servers import serve_all

    ports = {name: getattr(options, name) for name in ("postgres_port", "mlflow_port", "prefect_port")}
    return serve_all(
        ROOT,
        Path(options.state).resolve(),
        database=options.database,
        artifacts=options.artifacts,
        ports=ports,
        worker=not options.no_worker,
    )


def ui(options: argparse.Namespace) -> int:
    """Serve MLflow's and Prefect's pages until Ctrl-C."""
    from flows.ui import serve_pages

    return serve_pages(options.mlflow_port, options.prefect_port)
