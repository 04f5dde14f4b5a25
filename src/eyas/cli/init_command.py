"""The command ``init``: a parameter file from images, weights and a budget."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from eyas.cli.project import hand_over
from eyas.cli.terminal import echo, terminal_width, wrapped
from eyas.errors import EyasError

Value = TypeVar("Value")
_ROOM = 20
"""Columns left for the answer."""


def init(
    *,
    images: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Training images: a folder, a file, https:// or s3://.")
    ] = None,
    test: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Images that the weights have not seen, or from_train.")
    ] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="The weights have seen no image of --images.")] = False,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Weights [default: train the network here].")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In models/, package.module:factory, torchvision/NAME or timm/NAME [default: what fits the weights].",
        ),
    ] = None,
    arguments: Annotated[str, typer.Option(metavar="JSON", help="Keyword arguments of the factory.")] = "{}",
    image_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Side that the network sees.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="macs=0.5, latency_ms=4, ...; may be repeated [default: macs=0.5]."),
    ] = None,
    latency_profile: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of the device, where milliseconds are limited.")
    ] = None,
    out: Annotated[str | None, typer.Option(metavar="FILE", help="The file to write [default: mine.yaml].")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
) -> int:
    """Write a parameter file from images and weights.

    On a terminal it asks for what is not said. A file is written only if a run would start with it; else
    what is wrong is told.

    \b
    Examples:
      eyas init
      eyas init --images photos/ --checkpoint weights.pt --test from_train \\
        --budget macs=0.5 --out mine.yaml
      PYTHONPATH=code eyas init --images photos/ --test test/ \\
        --checkpoint weights.pt --architecture my_net:SortNet
    """
    from eyas.cli.network_arguments import parse_arguments

    said = {
        "images": images, "test": test, "unseen": unseen, "checkpoint": checkpoint, "architecture": architecture,
        "arguments": parse_arguments(arguments), "image_size": image_size, "budget": budget or (),
        "latency_profile": latency_profile, "out": out, "force": force,
    }  # fmt: skip
    ask = _ask if sys.stdin.isatty() and sys.stdout.isatty() else None
    return hand_over("init", Path(os.environ.get("PWD", Path.cwd())).resolve(), said, ask)


def _ask(question: str, check: Callable[[str], Value], default: str | None = None) -> Value:
    """Ask until the answer can be used."""
    while True:
        shown = f"{question} [{default}]" if default else question
        columns = terminal_width()
        answer = typer.prompt(wrapped(shown, columns and columns - _ROOM), default=default, show_default=False)
        try:
            return check(answer.strip())
        except EyasError as error:
            echo(f"\n  {' '.join(str(error).split())}", 0)  # on a line of its own, whatever the terminal echoes
