"""The command ``predict``: classes of image files."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import AsJson, Name, Overrides, ParamsFile, require_files
from eyas.cli.project import hand_over


def predict(
    *,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", resolve_path=True, help="Image files, or folders of them."),
    ],
    params: ParamsFile = None,
    overrides: Overrides = None,
    name: Name = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="A number, champion, candidate, previous, or run: what the last run exported [default: the champion, "
            "else the candidate, else the last run].",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Likeliest classes to show.")] = 3,
    as_json: AsJson = False,
) -> int:
    """Classify images by any version, with probabilities.

    Images are read as the device reads them. One that cannot be read has a line of its own, and the exit status is 2.

    \b
    Examples:
      eyas predict cat.png photos/
      eyas predict photos/ --version candidate --json
      eyas predict cat.png --params mine.yaml --version 3
    """
    require_files(*images)
    options = {"version": version, "top": top, "as_json": as_json}
    return hand_over("predict", params, overrides or [], name, images, **options)
