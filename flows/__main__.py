"""The command line: ``python -m flows <command>``.

Exit status: 0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from flows.environment import ROOT, configure

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


def run(options: argparse.Namespace) -> int:
    """Bring a profile up to date and print the result."""
    from tasks.workspace import open_workspace

    # Checked here too: a wrong parameter must not wait for Prefect to start.
    params_file = Path(options.params).resolve()
    workspace = open_workspace(ROOT, params_file, options.set, name=options.name)
    from tasks.report import print_summary

    from flows.pipeline import pipeline

    outcome = pipeline(
        os.path.relpath(params_file, ROOT),
        options.set,
        options.name,
        wait=options.wait,
        register=not options.no_register,
    )
    print_summary(workspace, outcome.version, outcome.run_id)
    return 0


def ui(options: argparse.Namespace) -> int:
    """Serve MLflow's and Prefect's pages until Ctrl-C."""
    from flows.servers import serve_pages

    return serve_pages(options.mlflow_port, options.prefect_port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True, metavar="command")
    add = commands.add_parser("run", help="bring every stage up to date, record, report, register")
    add.add_argument("--params", default=str(ROOT / "params.yaml"), metavar="FILE", help="a profile's parameters")
    add.add_argument("--set", action="append", default=[], metavar="SECTION.FIELD=VALUE", help="override a field")
    add.add_argument("--name", help="name of the workspace (default: made of the file and the overrides)")
    add.add_argument("--wait", action="store_true", help="wait for another run of this profile")
    add.add_argument("--no-register", action="store_true", help="leave the model registry alone")
    add.set_defaults(command=run)
    add = commands.add_parser("ui", help="show MLflow's and Prefect's pages on what the runs left")
    add.add_argument("--mlflow-port", type=int, default=5000)
    add.add_argument("--prefect-port", type=int, default=4200)
    add.set_defaults(command=ui)
    return parser


if __name__ == "__main__":
    sys.exit(main())
