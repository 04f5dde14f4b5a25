"""All commands of ``eyas``, and how each of them ends.

Exit status: 0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate, 130 interrupted (Ctrl-C, SIGTERM).
"""

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eyas.cli import (
    adapt_command,
    bench_command,
    compare_command,
    completion_command,
    doctor_command,
    init_command,
    library_commands,
    predict_command,
    profile_command,
    registry_commands,
    run_commands,
    server_commands,
    sites_commands,
    watch_command,
)
from eyas.cli.command_help import Command
from eyas.cli.interruption import INTERRUPTED, Interruption
from eyas.cli.program import program
from eyas.cli.terminal import echo
from eyas.errors import EyasError

_COLLECTED = 100_000
"""Objects between two of Python's collections; at the usual 700 imports of torch and MLflow set off many."""
COMMANDS = (
    *(init_command.init, run_commands.run, run_commands.retrain, compare_command.compare, predict_command.predict),
    watch_command.watch,
    adapt_command.adapt,
    *(registry_commands.promote, registry_commands.rollback, registry_commands.status, registry_commands.reproduce),
    *(server_commands.serve, server_commands.deploy, server_commands.servers, server_commands.ui),
    *(library_commands.inspect, profile_command.profile, bench_command.bench),
    *(library_commands.verify, doctor_command.doctor, library_commands.catalogue, completion_command.completion),
)


class CommandGroup(TyperGroup):
    """Ends with the status that a command returns; errors that explain themselves are printed plainly."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            status = super().invoke(ctx)
        except BaseException as error:
            status = _end(error)
        raise typer.Exit(status)


def _end(error: BaseException) -> int:
    """Say how a command ended before its time; what a library made of an interrupt that it met is still one."""
    handler = Interruption.current()
    if handler and (handler.stopped or isinstance(error, KeyboardInterrupt)):
        line, status = handler.line(), handler.stopped.status if handler.stopped else INTERRUPTED
        return _fail(line, status) if handler.tells() else status
    if isinstance(error, EyasError):
        from eyas.storage import redact

        return _fail(f"error: {redact(str(error))}", error.exit_status)
    if isinstance(error, PermissionError):
        return _fail(f"error: no permission for {error.filename}: {error.strerror}", 2)
    from eyas.storage.disk_space import describe_full_disk

    full = describe_full_disk(error)
    if full is None:
        raise error
    return _fail(f"error: {full}", EyasError.exit_status)


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich takes longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    app.command(cls=Command)(_command)
app.add_typer(sites_commands.sites, name="sites")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"eyas {version('eyas')}")
        raise typer.Exit


@app.callback()
def eyas(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and leave.")
    ] = False,
) -> None:
    """Prune a CNN to a budget, and carry it into the registry."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run one command, and return the exit status."""
    typed = sys.argv[1:] if arguments is None else arguments
    Interruption([*program(Path.cwd()), *typed]).install()
    gc.set_threshold(_COLLECTED)
    try:
        app(arguments, prog_name="eyas")
    except SystemExit as ended:
        gc.freeze()  # Python's last collection looks at all that torch, Prefect and MLflow loaded: up to three seconds
        return int(ended.code or 0)
    return 0


def _fail(message: str, status: int) -> int:
    echo(message, err=True)
    return status
