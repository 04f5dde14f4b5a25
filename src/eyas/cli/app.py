"""All commands of ``eyas``, and how each of them ends.

Exit status: 0 done, 1 failed, 2 bad input (nothing was done), 3 refused by a gate, 130 interrupted.
"""

import signal
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from eyas.cli import library_commands, registry_commands, run_commands, server_commands
from eyas.errors import EyasError

INTERRUPTED = 130
COMMANDS = (
    *(run_commands.run, run_commands.retrain),
    *(registry_commands.promote, registry_commands.rollback, registry_commands.status, registry_commands.reproduce),
    *(server_commands.serve, server_commands.deploy, server_commands.servers, server_commands.ui),
    *(library_commands.inspect, library_commands.catalogue),
)


class CommandGroup(TyperGroup):
    """Ends with the status that a command returns; errors that explain themselves are printed plainly."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            status = super().invoke(ctx)
        except EyasError as error:
            from eyas.storage import redact

            status = _fail(f"error: {redact(str(error))}", error.exit_status)
        except PermissionError as error:
            status = _fail(f"error: no permission for {error.filename}: {error.strerror}", 2)
        except KeyboardInterrupt:
            status = _fail("stopped; the next run continues from here", INTERRUPTED)
        raise typer.Exit(status)


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich takes longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    app.command()(_command)


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
    # Asked to end, leave as on Ctrl-C: the stage's processes and Prefect's temporary server end with us.
    # Both are set: a shell that starts us in the background leaves SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        app(arguments, prog_name="eyas")
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def _fail(message: str, status: int) -> int:
    typer.echo(message, err=True)
    return status
