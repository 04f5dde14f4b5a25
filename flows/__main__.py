"""The command line: ``python -m flows <command>``.

Exit status: 0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import ROOT, configure

if TYPE_CHECKING:
    from tasks.workspace import Workspace

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run one command; errors that explain themselves are printed plainly."""
    from eyas.errors import EyasError

    configure()
    options = _parser().parse_args(arguments)
    try:
        command: Command = options.command
        return command(options)
    except EyasError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except PermissionError as error:
        print(f"error: no permission to write {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the next run continues from here", file=sys.stderr)
        return 130


def _checked(options: argparse.Namespace) -> "Workspace":
    """The workspace; a wrong parameter must not wait for Prefect to start."""
    from tasks.workspace import open_workspace

    return open_workspace(ROOT, Path(options.params).resolve(), options.set, name=options.name)


def _relative(path: str) -> str:
    """As the flows take it: a deployment on another machine has another checkout."""
    return os.path.relpath(Path(path).resolve(), ROOT)


def run(options: argparse.Namespace) -> int:
    """Bring a profile up to date and print the result."""
    workspace = _checked(options)
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

    decision = flow(_relative(options.params), options.name, options.version, options.force)
    print(decision.message)
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Make the previous champion the champion again."""
    _checked(options)
    from flows.rollback import rollback as flow

    print(flow(_relative(options.params), options.name, options.reason))
    return 0


def status(options: argparse.Namespace) -> int:
    """Champion, previous, candidate, the last runs, and why."""
    from tasks.promote import status_lines

    print("\n".join(status_lines(_checked(options))))
    return 0


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


def _parser() -> argparse.ArgumentParser:
    description = "eyas: prune a CNN to a budget, and carry it into the registry."
    parser = argparse.ArgumentParser(prog="python -m flows", description=description)
    commands = parser.add_subparsers(required=True, metavar="command")

    add = commands.add_parser("run", help="bring every stage up to date, record, report, register")
    _profile_options(add)
    add.add_argument("--wait", action="store_true", help="wait for another run of this profile")
    add.add_argument("--no-register", action="store_true", help="leave the model registry alone")
    add.set_defaults(command=run)

    add = commands.add_parser("retrain", help="run only if data, parameters, code or checkpoint changed")
    _profile_options(add)
    add.add_argument("--reason", default="asked", help="who or what asked; recorded")
    add.add_argument("--force", action="store_true", help="run even if nothing changed")
    add.add_argument("--json", action="store_true", help="print the decision as JSON")
    add.set_defaults(command=retrain)

    add = commands.add_parser("promote", help="let the gates decide whether a version becomes champion")
    _profile_options(add)
    add.add_argument("--version", help="number of the model version (default: the candidate)")
    add.add_argument("--force", metavar="REASON", help="promote whatever the gates say; the reason is recorded")
    add.set_defaults(command=promote)

    add = commands.add_parser("rollback", help="make the previous champion the champion again")
    _profile_options(add)
    add.add_argument("--reason", default="", help="why; recorded")
    add.set_defaults(command=rollback)

    add = commands.add_parser("status", help="champion, previous, candidate, the last runs and why")
    _profile_options(add)
    add.set_defaults(command=status)

    add = commands.add_parser("serve", help="run schedules (and a webhook) on this machine")
    add.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE")
    add.add_argument("--prefect-port", type=int, default=4200)
    add.add_argument("--webhook-port", type=int, help="answer POST /retrain on this port")
    add.set_defaults(command=serve)

    add = commands.add_parser("deploy", help="put prefect.yaml's deployments on a Prefect server")
    add.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE")
    add.set_defaults(command=deploy)

    add = commands.add_parser("servers", help="start PostgreSQL, MLflow, Prefect and a worker on this machine")
    add.add_argument("--database", help="postgresql://user:password@host:port instead of a private one")
    add.add_argument("--artifacts", help="where MLflow keeps artifacts: a folder or s3://bucket/prefix")
    add.add_argument("--state", default=str(ROOT / ".eyas" / "servers"), help="folder of database and artifacts")
    add.add_argument("--postgres-port", type=int, default=5433)
    add.add_argument("--no-worker", action="store_true", help="no worker on this machine")
    _page_options(add)
    add.set_defaults(command=servers)

    add = commands.add_parser("ui", help="show MLflow's and Prefect's pages on what the runs left")
    _page_options(add)
    add.set_defaults(command=ui)
    return parser


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE", help="a profile's parameters")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="override a field")
    parser.add_argument("--name", help="name of the workspace (default: made of the file and the overrides)")


def _page_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mlflow-port", type=int, default=5000)
    parser.add_argument("--prefect-port", type=int, default=4200)


if __name__ == "__main__":
    sys.exit(main())
