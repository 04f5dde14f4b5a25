"""``eyas completion``: what a shell reads to complete commands and options."""

from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """Shells that can be told."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> int:
    """Print a script that completes commands in a shell.

    Put the line for your shell into its start file; it works where PATH has the command.

    \b
    Examples:
      eval "$(eyas completion bash)"    # ~/.bashrc
      eval "$(eyas completion zsh)"     # ~/.zshrc, after compinit
      eyas completion fish | source     # ~/.config/fish/config.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # what --show-completion prints

    typer.echo(get_completion_script(prog_name="eyas", complete_var="_EYAS_COMPLETE", shell=shell.value))
    return 0
