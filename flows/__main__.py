"""The command line: ``python -m flows <command>``.

Exit status: 0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence

from flows import commands as do
from flows.environment import ROOT, configure

Command = Callable[[argparse.Namespace], int]
Commands = argparse._SubParsersAction
LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run one command; errors that explain themselves are printed plainly."""
    from eyas.errors import EyasError

    options = _parser().parse_args(arguments)
    # Asked to end, leave as on Ctrl-C: the stage's processes and Prefect's temporary server end with us.
    # Both are set: a shell that starts us in the background leaves SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        configure()
        command: Command = options.command
        return command(options)
    except EyasError as error:
        from eyas.storage import redact

        print(f"error: {redact(str(error))}", file=sys.stderr)
        return error.exit_status
    except PermissionError as error:
        print(f"error: no permission for {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the next run continues from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    description = "eyas: prune a CNN to a budget, and carry it into the registry."
    parser = argparse.ArgumentParser(prog="python -m flows", description=description)
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_runs(commands)
    _add_registry(commands)
    _add_servers(commands)
    return parser


def _add_runs(commands: "Commands") -> None:
    add = commands.add_parser("run", help="bring every stage up to date, record, report, register")
    _profile_options(add)
    add.add_argument("--wait", action="store_true", help="wait for another run of this profile")
    add.add_argument("--no-register", action="store_true", help="leave the model registry alone")
    add.set_defaults(command=do.run)

    add = commands.add_parser("retrain", help="run only if data, parameters, code or checkpoint changed")
    _profile_options(add)
    add.add_argument("--reason", default="asked", help="who or what asked; recorded")
    add.add_argument("--force", action="store_true", help="run every stage again, even if nothing changed")
    add.add_argument("--json", action="store_true", help="print the decision as JSON")
    add.set_defaults(command=do.retrain)

    add = commands.add_parser("inspect", help="what of a network can be pruned, and what cannot and why")
    add.add_argument("--model", required=True, help="a name in models/, or package.module:factory")
    add.add_argument("--input", required=True, action="append", metavar="SHAPE", help="1,3,224,224; once per input")
    add.add_argument("--arguments", default="{}", metavar="JSON", help="keyword arguments of the factory")
    add.add_argument("--num-classes", type=int, default=10, help="of a name in models/")
    add.add_argument("--ignore", action="append", default=[], help="layer pattern or type that stays whole")
    add.add_argument("--round-to", type=int, default=1)
    add.add_argument("--min-width", type=int, default=1)
    add.add_argument("--json", action="store_true")
    add.set_defaults(command=do.inspect)


def _add_registry(commands: "Commands") -> None:
    add = commands.add_parser("promote", help="let the gates decide whether a version becomes champion")
    _profile_options(add)
    which = add.add_mutually_exclusive_group()
    which.add_argument("--version", help="number of the model version (default: the candidate)")
    which.add_argument("--of-lock", action="store_true", help="the version that the profile's dvc.lock registered")
    add.add_argument("--force", metavar="REASON", help="promote whatever the gates say; the reason is recorded")
    add.add_argument("--dry-run", action="store_true", help="judge only: record nothing, move nothing")
    add.add_argument("--report", metavar="FILE", help="write the decision: *.json as JSON, others as Markdown")
    add.set_defaults(command=do.promote)

    add = commands.add_parser("rollback", help="make the previous champion the champion again")
    _profile_options(add)
    add.add_argument("--reason", default="", help="why; recorded")
    add.set_defaults(command=do.rollback)

    add = commands.add_parser("status", help="champion, previous, candidate, the last runs and why")
    _profile_options(add)
    add.set_defaults(command=do.status)

    add = commands.add_parser("reproduce", help="what it takes to make a registered version again, verified")
    _profile_options(add)
    add.add_argument("--version", help="number of the model version (default: the candidate)")
    add.add_argument("--json", action="store_true")
    add.set_defaults(command=do.reproduce)


def _add_servers(commands: "Commands") -> None:
    add = commands.add_parser("serve", help="run schedules (and a webhook) on this machine")
    add.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE")
    add.add_argument("--prefect-port", type=_port, default=4200)
    add.add_argument("--webhook-port", type=_port, help="answer POST /retrain on this port")
    add.set_defaults(command=do.serve)

    add = commands.add_parser("deploy", help="put prefect.yaml's deployments on a Prefect server")
    add.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE")
    add.set_defaults(command=do.deploy)

    add = commands.add_parser("servers", help="start PostgreSQL, MLflow, Prefect and a worker on this machine")
    add.add_argument("--database", help="postgresql://user:password@host:port instead of a private one")
    add.add_argument("--artifacts", help="where MLflow keeps artifacts: a folder or s3://bucket/prefix")
    add.add_argument("--state", default=str(ROOT / ".eyas" / "servers"), help="folder of database and artifacts")
    add.add_argument("--postgres-port", type=_port, default=5433)
    add.add_argument("--no-worker", action="store_true", help="no worker on this machine")
    _page_options(add)
    add.set_defaults(command=do.servers)

    add = commands.add_parser("ui", help="show MLflow's and Prefect's pages on what the runs left")
    _page_options(add)
    add.set_defaults(command=do.ui)


def _port(text: str) -> int:
    """A port as argparse takes it."""
    if not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        msg = f"{text!r} is no port: give a number from 1 to {LAST_PORT}"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _profile_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE", help="a profile's parameters")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="override a field")
    parser.add_argument("--name", help="name of the workspace (default: made of the file and the overrides)")


def _page_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mlflow-port", type=_port, default=5000)
    parser.add_argument("--prefect-port", type=_port, default=4200)


if __name__ == "__main__":
    sys.exit(main())
