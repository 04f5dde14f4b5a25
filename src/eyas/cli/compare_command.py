"""The command ``compare``: profiles, versions and runs side by side."""

from pathlib import Path
from typing import Annotated

import typer

from eyas.cli.options import AsJson, Overrides, ParamsFile
from eyas.cli.project import hand_over


def compare(
    *,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="A workspace or parameter file; a version (3, candidate, champion, models:/name/3); an MLflow run.",
        ),
    ],
    params: ParamsFile = None,
    overrides: Overrides = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", resolve_path=True, help="Write table and curve there, as one file."),
    ] = None,
    no_log: Annotated[bool, typer.Option("--no-log", help="Make no run of MLflow of it.")] = False,
    as_json: AsJson = False,
) -> int:
    """Compare networks: accuracy, cost, time, verdict.

    Each is held against the first one with the same test images, image by image. Those with other test images stand
    beside it without a difference.

    \b
    Examples:
      eyas compare default params+sample.budget.macs=0.25
      eyas compare champion candidate candidate-macs-25 --html comparison.html
      eyas compare mine.yaml models:/products/3 --json
    """
    places = [str(Path(name).resolve()) if Path(name).is_file() else name for name in names]
    return hand_over(
        "comparison_commands.compare", places, params, overrides or [], html=html, as_json=as_json, log=not no_log
    )
